/** TPM commands as bytes, for what speaks to a TPM without a library (TPM 2.0 Part 1, section "Command/Response Structure"). */

const TPM_ST_SESSIONS = 0x8002;
const TPM_RS_PW = 0x40000009;

/** Numbers are written most significant byte first. */
export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A command with one authorisation, by a password. */
export function authorized(command: number, handles: readonly number[], parameters: Buffer = Buffer.alloc(0), password = ""): Buffer {
  const session = Buffer.concat([u32(TPM_RS_PW), u16(0), Buffer.of(0), u16(password.length), Buffer.from(password)]);
  const body = Buffer.concat([u32(command), ...handles.map(u32), u32(session.length), session, parameters]);
  return Buffer.concat([u16(TPM_ST_SESSIONS), u32(body.length + 6), body]);
}
