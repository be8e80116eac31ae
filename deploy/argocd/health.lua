-- Argo CD health of a GoldenImage or an ImageShare, as kstatus has it: Stalled and Reconciling are
-- looked at before Ready, so that a copy that takes an hour is Progressing and not Degraded.
local status = obj.status
if status == nil or status.conditions == nil then
  return { status = "Progressing", message = "Waiting for the operator" }
end
if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to see the new spec" }
end
local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local ready = found["Ready"]
local synced = found["Synced"]
if ready ~= nil and ready.reason == "Suspended" then
  return { status = "Suspended", message = ready.message }
end
if found["Stalled"] ~= nil and found["Stalled"].status == "True" then
  return { status = "Degraded", message = found["Stalled"].message }
end
if synced ~= nil and synced.reason == "WouldChange" then
  return { status = "Suspended", message = "Observe: " .. synced.message }
end
if found["Reconciling"] ~= nil and found["Reconciling"].status == "True" then
  return { status = "Progressing", message = found["Reconciling"].message }
end
if ready ~= nil and ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
if ready ~= nil then
  return { status = "Progressing", message = ready.message }
end
return { status = "Progressing", message = "Waiting for the operator" }
