/** What the parts of {@link appraiseSpecification} take and give. */
import type { ContainerConfiguration } from "@hullmark/proto/v1/attestation";
import type { PodConfigMaps, PodContainer, PodRecord } from "../../ports/pod-view.ts";
import { printable } from "../text/printable.ts";
import type { FindingKind, ReferenceConfig } from "./types.ts";

export interface Specified {
  readonly pod: PodRecord;
  readonly container: PodContainer;
  readonly configMaps: PodConfigMaps;
  readonly image: ReferenceConfig;
  readonly observed: ContainerConfiguration;
}

export type Report = (kind: FindingKind, name: string, expected: string, observed: string, summary: string) => void;

export const words = (text: string): string => printable(Buffer.from(text)).slice(0, 1024);
