# gilder check Patched: no security updates are pending, and no reboot.
# Reads only. Exit code 0: passed, 1: failed, 2: could not be checked.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

# Windows Update has no limit of its own, so the search gets one of ten minutes in a job.
$search = {
    $ErrorActionPreference = 'Stop'
    $session = New-Object -ComObject Microsoft.Update.Session
    $result = $session.CreateUpdateSearcher().Search("IsInstalled=0 and IsHidden=0 and Type='Software'")
    if ($result.ResultCode -ne 2) { throw "the search ended with result $($result.ResultCode)" }
    foreach ($update in $result.Updates) {
        # The identifier of the category "Security Updates", whatever the language.
        $ids = @($update.Categories | ForEach-Object { $_.CategoryID })
        if ($ids -contains '0fa1201d-4330-4fa8-8ae9-b877473b6441' -or $update.MsrcSeverity) {
            $update.Title
        }
    }
}
try {
    $job = Start-Job -ScriptBlock $search
    if (-not (Wait-Job $job -Timeout 600)) {
        Stop-Job $job
        Write-Output 'Could not be checked: Windows Update did not answer in ten minutes.'
        exit 2
    }
    $pending = @(Receive-Job $job -ErrorAction Stop)
    $reboot = @('HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending',
        'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired') |
        Where-Object { Test-Path -LiteralPath $_ }
} catch {
    Write-Output "Could not be checked: Windows Update cannot be asked: $($_.Exception.Message)"
    exit 2
}

$pending | Select-Object -First 36 | ForEach-Object { "$_".Substring(0, [Math]::Min(200, "$_".Length)) }
if ($pending.Count -gt 36) { Write-Output "... and $($pending.Count - 36) more" }
if ($pending.Count -gt 0) {
    Write-Output "Security updates are pending: $($pending.Count) by Windows Update."
    exit 1
}
if ($reboot) {
    Write-Output 'Updates were installed, but need a reboot to take effect.'
    exit 1
}
Write-Output 'No security updates are pending, says Windows Update.'
exit 0
