/**
 * A file system (FUSE) with one program, whose every look is asked of this process: stopped, it answers nothing, as one of a network whose server is away. Arguments: where it is mounted, the program.
 * Prints `ready`. Needs root.
 */
import { spawnSync } from "node:child_process";
import { openSync, readFileSync, readSync, writeSync } from "node:fs";

const [at = "", program = ""] = process.argv.slice(2);
const content = readFileSync(program);
const device = openSync("/dev/fuse", "r+");
const options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other";
const { status } = spawnSync("mount", ["-i", "-t", "fuse", "-o", options, "silent", at], { stdio: ["ignore", "inherit", "inherit", device] });
if (status !== 0) process.exit(1);
process.stdout.write("ready\n");

/** Linux: include/uapi/linux/fuse.h. */
const OP = { LOOKUP: 1, FORGET: 2, GETATTR: 3, OPEN: 14, READ: 15, RELEASE: 18, FLUSH: 25, INIT: 26 } as const;
const [ROOT, PROGRAM] = [1n, 2n];
const [ENOENT, ENOSYS] = [2, 38];

/** Valid for no time: it is asked again each time. */
function attributes(node: bigint): Buffer {
  const attr = Buffer.alloc(88);
  attr.writeBigUInt64LE(node, 0);
  attr.writeBigUInt64LE(node === ROOT ? 0n : BigInt(content.length), 8);
  attr.writeUInt32LE(node === ROOT ? 0o40755 : 0o100755, 60);
  attr.writeUInt32LE(1, 64);
  attr.writeUInt32LE(4096, 80);
  return attr;
}

function answer(op: number, node: bigint, body: Buffer): Buffer | number {
  if (op === OP.INIT) {
    const init = Buffer.alloc(64);
    init.writeUInt32LE(7, 0);
    init.writeUInt32LE(31, 4);
    init.writeUInt32LE(65_536, 20);
    return init;
  }
  if (op === OP.LOOKUP) {
    if (node !== ROOT || body.toString("latin1", 0, body.indexOf(0)) !== "program") return -ENOENT;
    const entry = Buffer.alloc(40);
    entry.writeBigUInt64LE(PROGRAM, 0);
    return Buffer.concat([entry, attributes(PROGRAM)]);
  }
  if (op === OP.GETATTR) return Buffer.concat([Buffer.alloc(16), attributes(node)]);
  if (op === OP.OPEN) return Buffer.alloc(16);
  if (op === OP.READ) return content.subarray(Number(body.readBigUInt64LE(8))).subarray(0, body.readUInt32LE(16));
  return op === OP.RELEASE || op === OP.FLUSH ? Buffer.alloc(0) : -ENOSYS;
}

const request = Buffer.alloc(2 ** 18);
for (;;) {
  const length = readSync(device, request);
  const [op, unique, node] = [request.readUInt32LE(4), request.readBigUInt64LE(8), request.readBigUInt64LE(16)];
  if (op === OP.FORGET) continue;
  const answered = answer(op, node, request.subarray(40, length));
  const out = typeof answered === "number" ? Buffer.alloc(0) : answered;
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + out.length, 0);
  header.writeInt32LE(typeof answered === "number" ? answered : 0, 4);
  header.writeBigUInt64LE(unique, 8);
  writeSync(device, Buffer.concat([header, out]));
}
