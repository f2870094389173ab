/**
 * Evidence from its bytes. A container of which a full report says byte for byte what the full report before said is the object that it was then:
 * it is not decoded again, and {@link applyEvidence} sees at once that nothing is new. The bytes come from an authenticated node, which may be compromised.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { type ContainerUpdate, ContainerUpdateSchema, type EvidenceBody, EvidenceBodySchema } from "@hullmark/proto/v1/attestation";

const { seq, full, containers } = EvidenceBodySchema.field;
const CONTAINERS = containers.number;
const WIRE_TYPES: ReadonlyMap<number, WireType> = new Map(
  EvidenceBodySchema.fields.map((field) => [field.number, field === seq || field === full ? WireType.Varint : WireType.LengthDelimited]),
);
/** More of one container is decoded each time: it is not kept twice. */
const MAX_KEPT_BYTES = 64 * 1024;

interface Told {
  readonly bytes: Uint8Array;
  readonly update: ContainerUpdate;
}

/** Decodes one node's Evidence, one after the other. */
export class EvidenceDecoder {
  /** Containers of the newest full report, by their place in it. */
  #told: readonly (Told | undefined)[] = [];

  /**
   * The same message as fromBinary gives, but that container updates may be shared with the message before: nobody changes them.
   * @throws Error where the bytes are no EvidenceBody
   */
  decode(bytes: Uint8Array): EvidenceBody {
    const { containers, others } = split(bytes);
    const body = fromBinary(EvidenceBodySchema, others);
    const told = containers.map((each, i) => this.#again(each, i) ?? decoded(each, body.full));
    body.containers = told.map(({ update }) => update);
    if (body.full) this.#told = told.map((each) => (each.bytes.length <= MAX_KEPT_BYTES ? each : undefined));
    return body;
  }

  #again(bytes: Uint8Array, place: number): Told | undefined {
    const known = this.#told[place];
    return known && known.bytes.length === bytes.length && Buffer.compare(known.bytes, bytes) === 0 ? known : undefined;
  }
}

/** @param kept its bytes will be compared with the next report's: then they are its own, and hold no whole message */
function decoded(bytes: Uint8Array, kept: boolean): Told {
  const own = kept && bytes.length <= MAX_KEPT_BYTES ? new Uint8Array(bytes) : bytes;
  return { bytes: own, update: fromBinary(ContainerUpdateSchema, own) };
}

/** Every container's bytes in order, and all other fields as they came. Each field has its own wire type: another one is refused. */
function split(bytes: Uint8Array): { readonly containers: readonly Uint8Array[]; readonly others: Uint8Array } {
  const reader = new BinaryReader(bytes);
  const containers: Uint8Array[] = [];
  const others: Uint8Array[] = [];
  let from = 0;
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, wireType] = reader.tag();
    const known = WIRE_TYPES.get(field);
    if (known !== undefined && known !== wireType) throw new Error(`field ${field} has wire type ${wireType}`);
    if (field !== CONTAINERS) {
      reader.skip(wireType, field);
      continue;
    }
    if (start > from) others.push(bytes.subarray(from, start));
    containers.push(reader.bytes());
    from = reader.pos;
  }
  if (from < bytes.length) others.push(bytes.subarray(from));
  return { containers, others: Buffer.concat(others) };
}
