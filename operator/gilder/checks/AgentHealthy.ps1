# gilder check AgentHealthy: the SSM agent runs, and starts at every boot.
# Reads only. Exit code 0: passed, 1: failed, 2: could not be checked.
$ErrorActionPreference = 'Stop'
try {
    $agent = Get-CimInstance Win32_Service -Filter "Name='AmazonSSMAgent'"
    $version = 'unknown'
    $program = "$env:ProgramFiles\Amazon\SSM\amazon-ssm-agent.exe"
    if (Test-Path -LiteralPath $program) {
        $version = (Get-Item -LiteralPath $program).VersionInfo.ProductVersion
    }
} catch {
    Write-Output "Could not be checked: $($_.Exception.Message)"
    exit 2
}
if (-not $agent) {
    Write-Output 'There is no service AmazonSSMAgent.'
    exit 1
}
Write-Output "state: $($agent.State), at boot: $($agent.StartMode)"
Write-Output "version: $version"
if ($agent.State -ne 'Running') {
    Write-Output "The SSM agent does not run: its service is $($agent.State)."
    exit 1
}
if ($agent.StartMode -ne 'Auto') {
    Write-Output "The SSM agent does not start at boot: its service is $($agent.StartMode)."
    exit 1
}
Write-Output "The SSM agent $version runs and starts at boot."
exit 0
