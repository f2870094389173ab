import { hash } from "node:crypto";
import { canonicalJson } from "../transparency/entry.ts";
import type { Policy } from "./types.ts";

const POLICY_DOMAIN = "hullmark-policy-v1\n";

/** SHA-256 over the policy's meaning (32 bytes): comments, order of keys and the spelling of durations do not matter; the keys' content does. */
export function policyDigest(policy: Policy): Buffer {
  return hash("sha256", POLICY_DOMAIN + canonicalJson(JSON.parse(JSON.stringify(policy))), "buffer");
}
