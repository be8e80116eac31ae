# gilder check NoSecrets: no passwords, keys or tokens are baked into the image.
# For an instance that was launched without key pair and without user data.
# Reads only, and names files and lines, never what is in them.
# Exit code 0: passed, 1: failed, 2: could not be checked.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$most = 5000
$largest = 256KB
$private = '-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----'
$token = '(^|[^0-9A-Z])A[KS]IA[0-9A-Z]{16}([^0-9A-Z]|$)|gh[oprsu]_[0-9A-Za-z]{36}' +
    '|github_pat_[0-9A-Za-z_]{22}|glpat-[0-9A-Za-z_-]{20}|xox[abprs]-[0-9A-Za-z-]{10}'
$found = New-Object System.Collections.Generic.List[string]

# Name the first lines of a file that match.
function Add-Lines([string] $Path, [string] $Pattern, [string] $What, [int] $First = 3) {
    if (-not (Test-Path -LiteralPath $Path -PathType Leaf)) { return }
    $hits = @(Select-String -LiteralPath $Path -Pattern $Pattern -CaseSensitive |
        Where-Object { $_.Line -notmatch 'AKIAIOSFODNN7EXAMPLE' })
    foreach ($hit in ($hits | Select-Object -First $First)) {
        $place = "$Path line $($hit.LineNumber): "
        if (-not ($found | Where-Object { $_.StartsWith($place) })) { $found.Add($place + $What) }
    }
}

try {
    $any = '\S'
    Add-Lines "$env:ProgramData\ssh\administrators_authorized_keys" '^\s*[^#\s]' 'authorized key'
    $homes = @(Get-ChildItem -LiteralPath "$env:SystemDrive\Users" -Directory -Force |
        Where-Object { -not $_.Attributes.HasFlag([IO.FileAttributes]::ReparsePoint) })
    foreach ($entry in $homes) {
        $at = $entry.FullName
        Add-Lines "$at\.ssh\authorized_keys" '^\s*[^#\s]' 'authorized key'
        Add-Lines "$at\.aws\credentials" '^\s*aws_(secret|session)[a-z_]*\s*=' 'AWS credentials'
        Add-Lines "$at\.aws\config" '^\s*aws_(secret|session)[a-z_]*\s*=' 'AWS credentials'
        Add-Lines "$at\_netrc" 'password' 'password'
        Add-Lines "$at\.netrc" 'password' 'password'
        Add-Lines "$at\.git-credentials" $any 'Git credentials'
        Add-Lines "$at\.docker\config.json" '"(auth|identitytoken)"\s*:\s*"[^"]' 'registry login'
        Add-Lines "$at\.kube\config" $any 'kubeconfig' 1
        $shell = "$at\AppData\Roaming\Microsoft\Windows\PowerShell\PSReadLine"
        Add-Lines "$shell\ConsoleHost_history.txt" $any 'history of commands' 1
    }

    # Windows blanks these values itself once it has used them.
    foreach ($answers in @("$env:windir\Panther\unattend.xml",
            "$env:windir\Panther\Unattend\unattend.xml",
            "$env:windir\System32\Sysprep\unattend.xml")) {
        Add-Lines $answers '<Value>(?!\*SENSITIVE)[^<\s]' 'value of an answer file'
    }
    $logon = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
    if ((Get-Item -LiteralPath $logon).GetValueNames() -contains 'DefaultPassword') {
        $found.Add("$logon DefaultPassword: password for automatic logon")
    }
    $open = @(Get-CimInstance Win32_UserAccount -Filter 'LocalAccount=True AND Disabled=False' |
        Where-Object { -not $_.PasswordRequired })
    foreach ($account in $open) { $found.Add("account $($account.Name): needs no password") }

    $places = @($homes | ForEach-Object { $_.FullName }) + "$env:ProgramData\ssh"
    $files = @($places | Where-Object { Test-Path -LiteralPath $_ } | ForEach-Object {
            Get-ChildItem -LiteralPath $_ -File -Recurse -Depth 4 -Force -ErrorAction SilentlyContinue
        } | Where-Object {
            $_.Length -le $largest -and $_.Name -notlike 'ssh_host_*_key' -and
            $_.FullName -notlike '*\AppData\Local\*'
        } | Select-Object -First $most)
    foreach ($file in $files) {
        try {
            Add-Lines $file.FullName $private 'private key'
            Add-Lines $file.FullName $token 'token'
        } catch [System.IO.IOException] {
            continue # in use by another process, such as the registry's own files
        } catch [System.UnauthorizedAccessException] {
            continue
        }
    }
} catch {
    Write-Output "Could not be checked: $($_.Exception.GetType().Name) in line $($_.InvocationInfo.ScriptLineNumber)."
    exit 2
}

if ($found.Count -gt 0) {
    $found | Select-Object -First 37 | ForEach-Object {
        $_.Substring(0, [Math]::Min(200, $_.Length))
    }
    if ($found.Count -gt 37) { Write-Output "... and $($found.Count - 37) more" }
    Write-Output "Found in the image: $($found.Count) that should not be there (passwords, keys, tokens, histories)."
    exit 1
}
Write-Output 'No baked-in passwords, keys or tokens were found.'
exit 0
