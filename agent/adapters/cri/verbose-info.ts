/** What containerd and CRI-O tell beyond the interface: `info` of a verbose status, JSON in a string. The runtime controls it. */
import * as z from "zod";
import { MAX_SPEC_BYTES, OciSpecSchema } from "../../core/oci-spec.ts";

const int64 = z.object({ value: z.number().nullish() }).nullish();

const ContainerInfoSchema = z.object({
  pid: z.number(),
  runtimeSpec: OciSpecSchema.nullish(),
  /** CRI-O tells it here, containerd in `config`. */
  privileged: z.boolean().nullish(),
  /** runtime.v1.ContainerConfig as containerd was given it, in the field names of the proto. */
  config: z
    .object({
      image: z.object({ image: z.string().nullish(), user_specified_image: z.string().nullish() }).nullish(),
      /** What the kubelet asked for: the runtime follows links of the node before it mounts. */
      mounts: z.array(z.object({ container_path: z.string().nullish(), host_path: z.string().nullish() })).nullish(),
      linux: z
        .object({
          security_context: z
            .object({
              privileged: z.boolean().nullish(),
              run_as_user: int64,
              run_as_group: int64,
              run_as_username: z.string().nullish(),
              supplemental_groups: z.array(z.number()).nullish(),
              /** 0 (RuntimeDefault) is left out. */
              seccomp: z.object({ profile_type: z.number().nullish() }).nullish(),
            })
            .nullish(),
        })
        .nullish(),
    })
    .nullish(),
});

export type ContainerInfo = z.infer<typeof ContainerInfoSchema>;

const SandboxInfoSchema = z.object({
  pid: z.number().nullish(),
  image: z.string().nullish(),
  runtimeSpec: OciSpecSchema.nullish(),
  config: z.object({ hostname: z.string().nullish() }).nullish(),
});

export type SandboxInfo = z.infer<typeof SandboxInfoSchema>;

const RuntimeConfigSchema = z.object({
  containerdRootDir: z.string().nullish(),
  containerd: z.object({ snapshotter: z.string().nullish() }).nullish(),
});

export function parseContainerInfo(info: Readonly<Record<string, string>>): ContainerInfo | undefined {
  return parse(ContainerInfoSchema, info["info"]);
}

export function parseSandboxInfo(info: Readonly<Record<string, string>>): SandboxInfo | undefined {
  return parse(SandboxInfoSchema, info["info"]);
}

/** `config` of Status: where containerd keeps its content. */
export function parseRuntimeConfig(info: Readonly<Record<string, string>>): z.infer<typeof RuntimeConfigSchema> | undefined {
  return parse(RuntimeConfigSchema, info["config"]);
}

function parse<S extends z.ZodType>(schema: S, text: string | undefined): z.infer<S> | undefined {
  if (text === undefined || text.length > MAX_SPEC_BYTES) return undefined;
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
