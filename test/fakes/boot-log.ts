/** Writes crypto-agile event logs as firmware does, and extends what they say into a TPM: the measured boot of a machine that never was. */
import { hash } from "node:crypto";
import { Tpm } from "@hullmark/native";
import { GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE } from "@hullmark/verifier/core/measured-boot/efi";
import { EV } from "@hullmark/verifier/core/measured-boot/event-types";

const ALG = { sha256: 0x0b, sha384: 0x0c } as const;
const SHIM_LOCK = "50ab5d6046e00043abb63dd810dd8b23";

export interface WrittenEvent {
  readonly pcr: number;
  readonly type: number;
  readonly digest: Buffer;
  /** The same for the sha384 bank. */
  readonly sha384?: Buffer;
  readonly data: Buffer;
}

export const u16 = (value: number): Buffer => Buffer.from(Uint16Array.of(value).buffer);
export const u32 = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: number): Buffer => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
export const sha256 = (data: Uint8Array | string): Buffer => hash("sha256", data, "buffer");

const digestsOf = (preimage: Buffer | string) => ({ digest: sha256(preimage), sha384: hash("sha384", preimage, "buffer") });

/** An event whose digest is of its data. */
export function event(pcr: number, type: number, data: Buffer | string, preimage: Buffer | string = data): WrittenEvent {
  return { pcr, type, data: Buffer.from(data), ...digestsOf(preimage) };
}

export function variableData(guid: string, name: string, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(guid, "hex"), u64(name.length), u64(data.length), Buffer.from(name, "utf16le"), data]);
}

export const separator = (pcr: number): WrittenEvent => event(pcr, EV.SEPARATOR, Buffer.alloc(4));
export const setting = (name: string, data: Buffer, guid = GLOBAL_VARIABLE): WrittenEvent =>
  event(7, EV.EFI_VARIABLE_DRIVER_CONFIG, variableData(guid, name, data));

/** EV_EFI_BOOT_SERVICES_APPLICATION: the digest is the image's, the path is the log's word. */
export function image(path: string, content: string, pcr = 4, type: number = EV.EFI_BOOT_SERVICES_APPLICATION): WrittenEvent {
  const name = Buffer.from(`${path}\0`, "utf16le");
  const node = Buffer.concat([Buffer.from([4, 4]), u16(4 + name.length), name, Buffer.from([0x7f, 0xff, 4, 0])]);
  return { pcr, type, ...digestsOf(content), data: Buffer.concat([u64(0x1000), u64(4096), u64(0), u64(node.length), node]) };
}

/** What looks like a certificate: one DER SEQUENCE. */
export function certificate(seed: string): Buffer {
  const body = Buffer.from(seed.repeat(80)).subarray(0, 300);
  return Buffer.concat([Buffer.from([0x30, 0x82, body.length >> 8, body.length & 0xff]), body]);
}

export const grub = (prefix: string, text: string): WrittenEvent => event(8, EV.IPL, `${prefix}: ${text}\0`, text);
export const grubFile = (path: string, content: string): WrittenEvent => event(9, EV.IPL, `${path}\0`, content);

export const DB_CERTIFICATE = certificate("db");
export const SHIM_CERTIFICATE = certificate("vendor");
export const KERNEL_LINE = "/boot/vmlinuz-6.12 root=/dev/sda1 ro quiet";

/** A boot through shim and GRUB. */
export function linuxBoot(change: { readonly secureBoot?: boolean; readonly kernelLine?: string; readonly kernel?: string } = {}): WrittenEvent[] {
  const { secureBoot = true, kernelLine = KERNEL_LINE, kernel = "kernel" } = change;
  const owned = (der: Buffer): Buffer => Buffer.concat([Buffer.alloc(16, 7), der]);
  return [
    event(0, EV.S_CRTM_VERSION, Buffer.from("1.0\0", "utf16le")),
    setting("SecureBoot", Buffer.from([secureBoot ? 1 : 0])),
    ...["PK", "KEK"].map((name) => setting(name, Buffer.from(`${name} data`))),
    ...["db", "dbx"].map((name) => setting(name, Buffer.from(`${name} data`), IMAGE_SECURITY_DATABASE)),
    separator(7),
    image("\\EFI\\rom.efi", "rom", 2, EV.EFI_BOOT_SERVICES_DRIVER),
    event(4, EV.EFI_ACTION, "Calling EFI Application from Boot Option"),
    ...[0, 1, 2, 3, 4, 5, 6].map(separator),
    ...(secureBoot ? [event(7, EV.EFI_VARIABLE_AUTHORITY, variableData(IMAGE_SECURITY_DATABASE, "db", owned(DB_CERTIFICATE)))] : []),
    image("\\EFI\\debian\\shimx64.efi", "shim"),
    event(14, EV.IPL, "MokList\0", "keys"),
    event(7, EV.EFI_VARIABLE_AUTHORITY, variableData(SHIM_LOCK, "SbatLevel", Buffer.from("sbat,1,2022052400\n"))),
    ...(secureBoot ? [event(7, EV.EFI_VARIABLE_AUTHORITY, variableData(SHIM_LOCK, "Shim", SHIM_CERTIFICATE))] : []),
    image("\\EFI\\debian\\grubx64.efi", "grub"),
    grubFile("(hd0,gpt1)/boot/grub/grub.cfg", "set timeout=1"),
    grub("grub_cmd", "set timeout=1"),
    grub("grub_cmd", `linux ${kernelLine}`),
    grubFile("/boot/vmlinuz-6.12", kernel),
    grub("kernel_cmdline", kernelLine),
    grub("grub_cmd", "initrd /boot/initrd.img-6.12"),
    grubFile("/boot/initrd.img-6.12", "initrd"),
    event(5, EV.EFI_ACTION, "Exit Boot Services Invocation"),
    event(5, EV.EFI_ACTION, "Exit Boot Services Returned with Success"),
  ];
}

/** TCG_EfiSpecIdEvent for one bank, then the events. */
export function writeLog(events: readonly WrittenEvent[], bank: keyof typeof ALG = "sha256"): Buffer {
  const size = bank === "sha256" ? 32 : 48;
  const specId = Buffer.concat([Buffer.from("Spec ID Event03\0"), u32(0), Buffer.from([0, 2, 0, 2]), u32(1), u16(ALG[bank]), u16(size), Buffer.from([0])]);
  const header = Buffer.concat([u32(0), u32(EV.NO_ACTION), Buffer.alloc(20), u32(specId.length), specId]);
  const bodies = events.map(({ pcr, type, digest, sha384, data }) =>
    Buffer.concat([u32(pcr), u32(type), u32(1), u16(ALG[bank]), bank === "sha384" && sha384 ? sha384 : digest, u32(data.length), data]),
  );
  return Buffer.concat([header, ...bodies]);
}

/** PCRs 0 to 9 after these events, one after the other: what a kernel's `boot_aggregate` is the digest of. */
export function aggregated(events: readonly WrittenEvent[]): Buffer {
  const values: Buffer[] = Array.from({ length: 10 }, () => Buffer.alloc(32));
  for (const { pcr, type, digest } of events) if (type !== EV.NO_ACTION && pcr < 10) values[pcr] = sha256(Buffer.concat([values[pcr] as Buffer, digest]));
  return Buffer.concat(values);
}

/** Extends what the events say into a TPM that nobody else uses now. */
export async function boot(
  tcti: string,
  events: readonly Pick<WrittenEvent, "pcr" | "type" | "digest" | "sha384">[],
  bank: keyof typeof ALG = "sha256",
): Promise<void> {
  const tpm = new Tpm();
  await tpm.open(tcti);
  try {
    for (const { pcr, type, digest, sha384 } of events)
      if (type !== EV.NO_ACTION) await tpm.extendPcr(pcr, bank, bank === "sha384" && sha384 ? sha384 : digest);
  } finally {
    await tpm.close();
  }
}
