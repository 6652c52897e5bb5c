{{- define "bulkhead.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "bulkhead.selector" -}}
app.kubernetes.io/name: bulkhead
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bulkhead.labels" -}}
{{ include "bulkhead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "bulkhead.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "bulkhead.config" -}}
{{- $v := .Values -}}
{{- $state := dict -}}
{{- with $v.state -}}
{{- if .endpoints -}}
{{- $_ := set $state "endpoints" .endpoints -}}
{{- $_ := set $state "keyFile" "/etc/bulkhead/state/key/state.key" -}}
{{- if .prefix }}{{ $_ := set $state "prefix" .prefix }}{{ end -}}
{{- if .user }}{{ $_ := set $state "user" .user }}{{ $_ := set $state "passwordFile" "/etc/bulkhead/state/password/password" }}{{ end -}}
{{- if .tlsSecret -}}
{{- $dir := "/etc/bulkhead/state/tls" -}}
{{- $_ := set $state "tls" (dict "ca" (printf "%s/ca.crt" $dir) "cert" (printf "%s/tls.crt" $dir) "key" (printf "%s/tls.key" $dir)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $config := deepCopy $v.config -}}
{{- $_ := set $config "listen" "0.0.0.0:8080" -}}
{{- $_ := set $config "metrics" "0.0.0.0:9090" -}}
{{- $_ := set $config "data" "/data" -}}
{{- $_ := set $config "publicURL" $v.publicURL -}}
{{- if $state }}{{ $_ := set $config "state" $state }}{{ end -}}
{{- if $v.inCluster.enabled -}}
{{- $here := dict "name" $v.inCluster.name "kubeconfig" "/etc/bulkhead/config/kubeconfig" -}}
{{- $_ := set $config "clusters" (prepend (default list $config.clusters) $here) -}}
{{- end -}}
{{- $directory := default dict $config.directory -}}
{{- if $v.directory.files }}{{ $_ := set $directory "files" "/etc/bulkhead/directory" }}{{ end -}}
{{- if $v.directory.customResources -}}
{{- if not $v.inCluster.enabled }}{{ fail "directory.customResources needs inCluster.enabled" }}{{ end -}}
{{- $_ := set $directory "clusters" (append (default list $directory.clusters) (dict "name" $v.inCluster.name "namespaces" (list .Release.Namespace))) -}}
{{- end -}}
{{- if $directory }}{{ $_ := set $config "directory" $directory }}{{ end -}}
{{- if not (hasKey $config "log") }}{{ $_ := set $config "log" (dict "format" "json") }}{{ end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "bulkhead.check" -}}
{{- with .Values -}}
{{- if and (gt (int .replicas) 1) (not .state.endpoints) }}{{ fail "replicas: more than one needs state.endpoints, an etcd that they share" }}{{ end -}}
{{- if and .state.endpoints (not .state.keySecret) }}{{ fail "state.keySecret is required with state.endpoints" }}{{ end -}}
{{- if and .state.user (not .state.passwordSecret) }}{{ fail "state.passwordSecret is required with state.user" }}{{ end -}}
{{- if and .ingress.enabled (not .ingress.host) }}{{ fail "ingress.host is required with ingress.enabled" }}{{ end -}}
{{- end -}}
{{- end -}}
