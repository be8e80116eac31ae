{{- define "gilder.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "gilder.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains (include "gilder.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "gilder.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "gilder.selector" -}}
app.kubernetes.io/name: {{ include "gilder.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "gilder.labels" -}}
app.kubernetes.io/name: {{ include "gilder.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: gilder
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "gilder.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "gilder.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed when it is not created" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "gilder.lease" -}}
{{- default (include "gilder.fullname" .) .Values.leaderElection.leaseName }}
{{- end }}

{{- define "gilder.accessMap" -}}
{{- default (printf "%s-access" (include "gilder.fullname" .)) .Values.access.existingConfigMap }}
{{- end }}

{{- define "gilder.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Namespaces that rights are given in; none: all. */}}
{{- define "gilder.namespaces" -}}
{{- $found := list }}
{{- if .Values.rbac.perNamespace }}
{{- range splitList "," (default "" .Values.settings.namespaces) }}
{{- with trim . }}
{{- $found = append $found . }}
{{- end }}
{{- end }}
{{- end }}
{{- $found | toJson }}
{{- end }}
