/**
 * Settings of the JavaScript engine for a verifier of many nodes. Imported first, for its effect: what grew before stays grown. A flag that an engine does not
 * know is ignored by it.
 *
 * New objects stay within the first nursery. By default it grows, and keeps, up to 64 MB a half on a machine with much memory; collecting the small one more often
 * costs the same (what an attestation makes is garbage before the next), as bench/session.ts shows.
 *
 * Small buffers are cut from slabs of 8 KiB, as Node 22 did, in place of 64: a slab stays in memory as long as one piece of it does, and a digest that is kept of each
 * node kept a slab of each node.
 */
import { setFlagsFromString } from "node:v8";

setFlagsFromString("--semi-space-growth-factor=1");
Buffer.poolSize = 8192;
