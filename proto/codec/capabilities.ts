/** Linux capabilities (capabilities(7)) by number, without `CAP_`. */
const NAMES = [
  ...["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE"],
  ...["NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT"],
  ...["SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE"],
  ...["AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ"],
  ...["PERFMON", "BPF", "CHECKPOINT_RESTORE"],
];

/** Ascending by number; one without a name is its number. @param set as the kernel writes it: bit N is capability N, at most 64 */
export function capabilityNames(set: bigint): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit++) if ((set >> BigInt(bit)) & 1n) names.push(NAMES[bit] ?? String(bit));
  return names;
}

/** Names that are not known are left out. */
export function capabilitySet(names: Iterable<string>): bigint {
  let set = 0n;
  for (const name of names) {
    const bit = NAMES.indexOf(name);
    if (bit >= 0) set |= 1n << BigInt(bit);
  }
  return set;
}
