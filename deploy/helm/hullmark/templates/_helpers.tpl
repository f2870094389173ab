{{- define "hullmark.name" -}}
{{- if contains "hullmark" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-hullmark" (.Release.Name | trunc 31 | trimSuffix "-") }}{{ end }}
{{- end }}
{{- define "hullmark.labels" -}}
app.kubernetes.io/name: hullmark
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
{{- /* (list CONTEXT COMPONENT) */ -}}
{{- define "hullmark.selector" -}}
app.kubernetes.io/name: hullmark
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}
{{- /* (list CONTEXT IMAGE) */ -}}
{{- define "hullmark.image" -}}
{{- $context := index . 0 }}{{ $image := index . 1 -}}
{{- if $image.digest }}{{ printf "%s/%s@%s" $context.Values.image.registry $image.name $image.digest }}
{{- else }}{{ printf "%s/%s:%s" $context.Values.image.registry $image.name ($context.Values.image.tag | default $context.Chart.AppVersion) }}{{ end }}
{{- end }}
{{- define "hullmark.verifierHost" -}}
{{ include "hullmark.name" . }}-verifier.{{ .Release.Namespace }}.svc
{{- end }}
{{- define "hullmark.exemptNamespaces" -}}
{{ concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.admission.exemptNamespaces | uniq | toJson }}
{{- end }}
{{- define "hullmark.agentConfig" -}}
stateDirectory: /var/lib/hullmark/agent
verifier:
  address: {{ include "hullmark.verifierHost" . }}:7443
  enrolmentAddress: {{ include "hullmark.verifierHost" . }}:7444
  caFile: /etc/hullmark/verifier/ca.crt
tpm: { tcti: {{ .Values.agent.tpm.tcti | quote }} }
{{- if eq .Values.agent.tpm.tcti "none" }}
serviceAccountTokenFile: /var/run/secrets/hullmark/token
{{- else }}
{{- if not .Values.agent.state.hostPath }}{{ fail "agent.tpm.tcti: wants agent.state.hostPath: the attestation key must outlive the agent's pod" }}{{ end }}
{{- if contains "/../" .Values.agent.tpm.tcti }}{{ fail "agent.tpm.tcti: a path whose folder is mounted has no .." }}{{ end }}
{{- if and (hasPrefix "device:" .Values.agent.tpm.tcti) (not .Values.agent.tpm.deviceResource) (not .Values.agent.privileged) }}{{ fail "agent.tpm.tcti: a pod may open a device only by a device plug-in (agent.tpm.deviceResource) or agent.privileged" }}{{ end }}
{{- with .Values.agent.tpm.securityfs }}
measuredBoot:
  eventLog: /run/hullmark/securityfs/tpm0/binary_bios_measurements
  imaList: /run/hullmark/securityfs/ima/binary_runtime_measurements
{{- else }}
measuredBoot: { eventLog: none, imaList: none }
{{- end }}
{{- end }}
runtime:
{{- if eq .Values.agent.runtime.kind "docker" }}
{{- $ofContainerd := true }}
{{- range prepend .Values.agent.runtime.extraHostPaths .Values.agent.runtime.rootDirectory }}{{ if ne (clean .) "/var/lib/containerd" }}{{ $ofContainerd = false }}{{ end }}{{ end }}
{{- if $ofContainerd }}{{ fail "agent.runtime.rootDirectory: is containerd's, and Docker's own folder is not there: name that, as a rule /var/lib/docker; where Docker's images are in containerd's store, one of the two in agent.runtime.extraHostPaths" }}{{ end }}
  docker: { socket: {{ printf "%s/%s" .Values.agent.runtime.socketDirectory .Values.agent.runtime.socket | quote }} }
{{- else }}
  cri:
    socket: {{ printf "%s/%s" .Values.agent.runtime.socketDirectory .Values.agent.runtime.socket | quote }}
    kubeletDirectory: {{ .Values.agent.runtime.kubeletDirectory | quote }}
    otherContainers: {{ .Values.agent.runtime.otherContainers }}
{{- end }}
changes: { source: {{ .Values.agent.changes.source }} }
scrub: { bytesPerSecond: {{ .Values.agent.scrub.bytesPerSecond | int64 }} }
{{- with .Values.agent.contents }}
contents: {{ dict "allow" .allow "deny" .deny "maxBytes" (int64 .maxBytes) "hourly" (int64 .hourly) | toJson }}
{{- end }}
{{- with .Values.agent.capture }}
{{- if and .recipients (not $.Values.agent.state.hostPath) }}{{ fail "agent.capture.recipients: want agent.state.hostPath: a capture must outlive the agent's pod" }}{{ end }}
{{- /* Also without recipients: what was captured before is kept for this time. */}}
capture: {{ dict "recipients" .recipients "keepHours" (int64 .keepHours) "maxBytes" (int64 .maxBytes) "maxSeconds" (int64 .maxSeconds) "handOut" .handOut | toJson }}
{{- end }}
log: { level: {{ .Values.agent.logLevel }} }
{{- end }}
{{- /* Folder of a TPM's socket; empty where it has none. The folder is mounted, since a restart makes a new socket. */ -}}
{{- define "hullmark.tpmSocketDirectory" -}}
{{- if hasPrefix "swtpm:path=" .Values.agent.tpm.tcti }}{{ dir (trimPrefix "swtpm:path=" .Values.agent.tpm.tcti) }}{{ end }}
{{- end }}
{{- /* Whether the device itself is mounted: a device plug-in brings it otherwise. */ -}}
{{- define "hullmark.tpmDevice" -}}
{{- if and (hasPrefix "device:" .Values.agent.tpm.tcti) (not .Values.agent.tpm.deviceResource) }}{{ trimPrefix "device:" .Values.agent.tpm.tcti }}{{ end }}
{{- end }}
{{- define "hullmark.agentResources" -}}
{{- $resources := deepCopy .Values.agent.resources }}
{{- with .Values.agent.tpm.deviceResource }}{{ $_ := set $resources "limits" (merge (dict . "1") ($resources.limits | default dict)) }}{{ end }}
{{- toYaml $resources }}
{{- end }}
{{- define "hullmark.actuatorConfig" -}}
stateDirectory: /var/lib/hullmark/actuator
credentialDirectory: /etc/hullmark/actuator
verifier: { address: {{ printf "%s:7443" (include "hullmark.verifierHost" .) | quote }} }
kubernetes: { namespace: {{ .Release.Namespace }}, lease: {{ include "hullmark.name" . }}-actuator, halt: {{ and .Values.actuator.rollback.enabled .Values.actuator.rollback.halt | default false }}, networkPolicyEnforced: {{ and .Values.actuator.isolation.enabled .Values.actuator.isolation.enforced | default false }} }
limits:
  pauseSeconds: {{ .Values.actuator.limits.pauseSeconds | int64 }}
  hourlyPercent: {{ .Values.actuator.limits.hourlyPercent | int64 }}
  protect: {{ .Values.actuator.limits.protect | toJson }}
{{- with .Values.actuator.nodes }}
{{- if .enabled }}
nodes: { allow: {{ .allow | toJson }}, hourly: {{ .hourly | int64 }}, atOnce: {{ .atOnce | int64 }} }
{{- end }}
{{- end }}
log: { level: {{ .Values.actuator.logLevel }} }
{{- end }}
{{- define "hullmark.verifierConfig" -}}
{{- $host := include "hullmark.verifierHost" . -}}
stateDirectory: /var/lib/hullmark/verifier
verifierId: {{ printf "%s/%s" .Release.Namespace (include "hullmark.name" .) | quote }}
region: {{ .Values.region | quote }}
listen:
{{- range $name, $port := dict "main" 7443 "enrolment" 7444 "http" 7480 }}
  {{ $name }}: {{ printf "%s:%d" $.Values.verifier.listenOn $port | quote }}
{{- end }}
advertisedNames:
  - {{ $host }}
  - {{ $host }}.cluster.local
  - localhost
  - 127.0.0.1
{{- range .Values.verifier.extraNames }}
  - {{ . | quote }}
{{- end }}
enrolment:
  mode: {{ .Values.verifier.enrolment.mode }}
  acceptWithoutCertificate: {{ .Values.verifier.enrolment.acceptWithoutCertificate }}
  acceptJoinTokens: {{ .Values.verifier.enrolment.acceptJoinTokens }}
  certificateMinutes: {{ .Values.verifier.enrolment.certificateMinutes | default 60 | int64 }}
{{- with .Values.verifier.enrolment.makerRootsConfigMap }}
  makerRootFiles: [/etc/hullmark/tpm-makers/makers.pem]
{{- end }}
  allow: {{ .Values.verifier.enrolment.allow | toJson }}
kubernetes:
  join: { audience: hullmark, namespace: {{ .Release.Namespace }}, serviceAccount: {{ include "hullmark.name" . }}-agent }
  policy: { namespace: {{ .Release.Namespace }}, name: {{ include "hullmark.name" . }}, teams: true }
{{- with .Values.verifier.pods }}{{ if .enabled }}
  pods: { graceSeconds: {{ .graceSeconds | int64 }}, maxAgeSeconds: {{ .maxAgeSeconds | int64 }}, templates: {{ .templates }}, configMaps: {{ .configMaps }} }
{{- end }}{{ end }}
  publish:
    namespace: {{ .Release.Namespace }}
    caConfigMap: {{ include "hullmark.name" . }}-ca
    adminSecret: {{ include "hullmark.name" . }}-admin
    responderSecret: {{ include "hullmark.name" . }}-responder
    viewerSecret: {{ include "hullmark.name" . }}-viewer
{{- if .Values.actuator.enabled }}
    actuatorSecret: {{ include "hullmark.name" . }}-actuator
{{- end }}
{{- if .Values.admission.enabled }}
    webhookConfiguration: {{ include "hullmark.name" . }}-{{ .Release.Namespace }}
{{- end }}
  exceptions: true
  podEvents: {{ .Values.podEvents.enabled }}
{{- if .Values.openReports.enabled }}
  reports: { name: {{ include "hullmark.name" . }}, owner: {{ include "hullmark.name" . }}-{{ .Release.Namespace }}-reports }
{{- end }}
{{- if .Values.admission.enabled }}
admission:
  listen: {{ printf "%s:7445" .Values.verifier.listenOn | quote }}
  exemptNamespaces: {{ include "hullmark.exemptNamespaces" . }}
  {{- if .Values.admission.clientCaConfigMap }}
  clientCaFile: /etc/hullmark/admission-ca/ca.crt
  {{- end }}
{{- end }}
{{- if .Values.dashboard.enabled }}
dashboard:
  listen: {{ printf "%s:7446" .Values.verifier.listenOn | quote }}
  {{- with .Values.dashboard.url }}
  url: {{ . | quote }}
  {{- end }}
  idleMinutes: {{ .Values.dashboard.idleMinutes }}
  sessionHours: {{ .Values.dashboard.sessionHours }}
{{- end }}
{{- if .Values.people.enabled }}
people:
  listen: {{ printf "%s:7447" .Values.verifier.listenOn | quote }}
  {{- with .Values.people.config }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
policyFile: /etc/hullmark/policy/policy.yaml
registries:
  allow: {{ .Values.verifier.registries.allow | toJson }}
  allowPrivate: {{ .Values.verifier.registries.allowPrivate | toJson }}
  plainHttp: {{ .Values.verifier.registries.plainHttp | toJson }}
{{- with .Values.verifier.registries.dockerConfigSecret }}
  dockerConfigFile: /etc/hullmark/docker/config.json
{{- end }}
{{- with .Values.verifier.registries.caConfigMap }}
  caFile: /etc/hullmark/registry-ca/ca.crt
{{- end }}
{{- with .Values.verifier.pkcs11.uri }}
keys:
  pkcs11: {{ printf "%s&pin-source=file:/etc/hullmark/pkcs11/pin" . | quote }}
{{- end }}
{{- with .Values.verifier.heartbeats }}
heartbeats: {{ toJson . }}
{{- end }}
{{- with .Values.verifier.externalUrl }}
externalUrl: {{ . | quote }}
{{- end }}
logging: { level: {{ .Values.verifier.logLevel }} }
{{- end }}
{{- define "hullmark.agentRule" -}}
- name: hullmark-agent
  select: { workloads: [{{ printf "%s/%s-agent" .Release.Namespace (include "hullmark.name" .) | quote }}] }
  allow:
    capabilities: {{ .Values.agent.capabilities | toJson }}
    privileged: {{ .Values.agent.privileged }}
    {{- if .Values.agent.tpm.deviceResource }}
    devices: [{{ trimPrefix "device:" .Values.agent.tpm.tcti | quote }}]
    {{- end }}
    hostNamespaces: [pid]
    env: ["**"]
    mounts: ["/**"]
    args: true
    workingDirectory: true
    users: ["**"]
{{- end }}
{{- define "hullmark.policy" -}}
{{- if .Values.policy }}{{ .Values.policy }}{{ else -}}
apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: observe }
spec:
  # Nothing need be signed yet, and what Kubernetes puts into containers is no drift. See docs/policy.md, and `hullmark policy init`.
  rules:
    # What the agent itself needs (docs/kubernetes.md): in this namespace, and for it alone.
    {{- include "hullmark.agentRule" . | nindent 4 }}
    - name: everything
      allow:
        env: ["**"]
        mounts: ["/**"]
        args: true
        workingDirectory: true
        users: ["**"]
        staticPods: true
{{ end }}
{{- end }}
