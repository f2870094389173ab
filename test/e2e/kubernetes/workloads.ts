/** Objects of the cluster that the tests run: JSON for `kubectl apply -f -`. */
import { ACCEPTANCE } from "../images/acceptance.ts";

type Json = Readonly<Record<string, unknown>>;

export interface PodOptions {
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly capabilities?: readonly string[];
  /** Replaces what the container's part of the specification says. */
  readonly container?: Json;
  readonly spec?: Json;
  /** So many more containers of the same image, which wait. */
  readonly beside?: number;
}

/** Until endpoints are told of, a pod that ends goes on serving; one that begins is asked nothing before it answers. */
export const SERVING = {
  lifecycle: { preStop: { sleep: { seconds: 5 } } },
  readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 },
};

/** A pod's specification with a container `web` that runs the image's own command. */
export function podSpec(image: string, { env, capabilities, container, spec, beside = 0 }: PodOptions = {}): Json {
  return {
    terminationGracePeriodSeconds: 1,
    ...spec,
    containers: [
      {
        name: "web",
        image,
        ...(env ? { env } : {}),
        ...(capabilities ? { securityContext: { capabilities: { add: capabilities } } } : {}),
        ...container,
      },
      ...Array.from({ length: beside }, (_, i) => ({ name: `beside-${i}`, image, command: [ACCEPTANCE.tool, "wait"] })),
    ],
  };
}

export function pod(name: string, image: string, options: PodOptions = {}): Json & { readonly metadata: { readonly name: string } } {
  return { apiVersion: "v1", kind: "Pod", metadata: { name }, spec: podSpec(image, options) };
}

const template = (app: string, spec: Json): Json => ({ metadata: { labels: { app } }, spec });
const selector = (app: string): Json => ({ matchLabels: { app } });

/**
 * One of each kind of controller, with every volume that a kubelet keeps, an init container that ends and one that stays.
 * @param side image for a second container in a pod, whose network they share: it must not listen
 */
export function everyKind(image: string, side: string): readonly Json[] {
  const volumes = [
    { name: "scratch", emptyDir: {} },
    { name: "memory", emptyDir: { medium: "Memory" } },
    { name: "settings", configMap: { name: "settings" } },
    { name: "token", secret: { secretName: "token" } },
    { name: "fields", downwardAPI: { items: [{ path: "labels", fieldRef: { fieldPath: "metadata.labels" } }] } },
    { name: "together", projected: { sources: [{ configMap: { name: "settings" } }, { secret: { name: "token" } }] } },
  ];
  const volumeMounts = [
    ...volumes.map(({ name }) => ({ name, mountPath: `/mnt/${name}` })),
    { name: "settings", mountPath: "/app/one.conf", subPath: "one.conf" },
    { name: "scratch", mountPath: "/var/lib/part", subPath: "part" },
  ];
  // Neither is set, and policy allows none of them.
  const env = [
    { name: "MAYBE", valueFrom: { configMapKeyRef: { name: "settings", key: "none", optional: true } } },
    { name: "HIDDEN", valueFrom: { secretKeyRef: { name: "none", key: "none", optional: true } } },
  ];
  const web = podSpec(image, { container: { volumeMounts, env }, spec: { volumes } });
  const init = [
    { name: "prepare", image, command: ["/bin/true"] },
    { name: "sidecar", image: side, restartPolicy: "Always", env: [{ name: "TZ", value: "UTC" }] },
  ];
  return [
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "settings" }, data: { "one.conf": "one\n", "two.conf": "two\n" } },
    { apiVersion: "v1", kind: "Secret", metadata: { name: "token" }, stringData: { password: "hunter2" } },
    { apiVersion: "v1", kind: "Service", metadata: { name: "web" }, spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: 8080 }] } },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "web" },
      spec: { replicas: 2, selector: selector("web"), template: template("web", { ...web, initContainers: init }) },
    },
    {
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      metadata: { name: "store" },
      spec: { serviceName: "web", replicas: 1, selector: selector("store"), template: template("store", podSpec(image)) },
    },
    {
      apiVersion: "apps/v1",
      kind: "DaemonSet",
      metadata: { name: "each" },
      spec: {
        selector: selector("each"),
        template: template(
          "each",
          podSpec(image, {
            container: {
              securityContext: { runAsUser: 33, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, seccompProfile: { type: "RuntimeDefault" } },
            },
          }),
        ),
      },
    },
    {
      apiVersion: "batch/v1",
      kind: "CronJob",
      metadata: { name: "often" },
      spec: {
        schedule: "* * * * *",
        concurrencyPolicy: "Forbid",
        jobTemplate: { spec: { template: template("often", podSpec(image, { spec: { restartPolicy: "Never" } })) } },
      },
    },
  ];
}
