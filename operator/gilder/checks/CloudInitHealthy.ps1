# gilder check CloudInitHealthy: EC2Launch v2 came to its end without errors.
# Reads only. Exit code 0: passed, 1: failed, 2: could not be checked.
$ErrorActionPreference = 'Stop'
$program = "$env:ProgramFiles\Amazon\EC2Launch\EC2Launch.exe"
if (-not (Test-Path -LiteralPath $program)) {
    Write-Output 'Could not be checked: EC2Launch v2 is not installed.'
    exit 2
}
# Asked again and again rather than with --block, which has no limit.
$until = (Get-Date).AddSeconds(300)
$code = 2
try {
    while ($true) {
        & $program status | Out-Null
        $code = $LASTEXITCODE
        if ($code -ne 2 -or (Get-Date) -gt $until) { break }
        Start-Sleep -Seconds 5
    }
} catch {
    Write-Output "Could not be checked: $($_.Exception.Message)"
    exit 2
}
switch ($code) {
    0 { Write-Output 'EC2Launch v2 is done, without errors.'; exit 0 }
    1 {
        $log = "$env:ProgramData\Amazon\EC2Launch\log\agent.log"
        if (Test-Path -LiteralPath $log) {
            Select-String -LiteralPath $log -Pattern ' Error' -SimpleMatch |
                Select-Object -Last 30 |
                ForEach-Object { "agent.log line $($_.LineNumber)" }
        }
        Write-Output 'EC2Launch v2 ended with errors: see agent.log on the instance.'
        exit 1
    }
    2 { Write-Output 'EC2Launch v2 was still at work after 300 seconds.'; exit 1 }
    default {
        Write-Output "Could not be checked: EC2Launch v2 does not know its own status (exit code $code)."
        exit 2
    }
}
