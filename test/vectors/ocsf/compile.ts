/**
 * Makes a table of OCSF's published schema for one event class: `node test/vectors/ocsf/compile.ts CHECKOUT CLASS-FILE OBJECT... > TABLE.json`, where CHECKOUT is
 * https://github.com/ocsf/ocsf-schema (Apache-2.0) at a release. Inheritance is resolved; objects that are not listed are left out, and what needs them is refused
 * by whoever reads the table. Profiles are left out: they apply only to events that name them in `metadata.profiles`.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

interface Attribute {
  readonly requirement?: string;
  readonly profile?: string | null;
  readonly type?: string;
  readonly is_array?: boolean;
  readonly enum?: Readonly<Record<string, unknown>>;
  readonly "@deprecated"?: unknown;
}
interface Definition {
  readonly name: string;
  readonly uid?: number;
  readonly category?: string;
  readonly extends?: string;
  readonly constraints?: Readonly<Record<string, readonly string[]>>;
  readonly attributes: Readonly<Record<string, Attribute>>;
}

const [checkout = "", classFile = "", ...objects] = process.argv.slice(2);
const read = <T>(path: string): T => JSON.parse(readFileSync(path, "utf8")) as T;
const dictionary = read<{ attributes: Record<string, Attribute>; types: { attributes: Record<string, unknown> } }>(join(checkout, "dictionary.json"));

/** The definition with all that it inherits; the nearest word on an attribute counts. */
function resolved(path: string, directory: string): Definition {
  const own = read<Definition>(path);
  if (!own.extends) return own;
  const file = own.extends === "base_event" ? join(checkout, "events/base_event.json") : join(directory, `${own.extends}.json`);
  const base = resolved(file, directory);
  const names = new Set([...Object.keys(base.attributes), ...Object.keys(own.attributes)].filter((name) => name !== "$include"));
  const attributes = Object.fromEntries([...names].map((name) => [name, merged(base.attributes[name], own.attributes[name])]));
  return { ...base, ...own, attributes };
}

function merged(base: Attribute | undefined, own: Attribute | undefined): Attribute {
  const values = { ...base?.enum, ...own?.enum };
  return { ...base, ...own, ...(Object.keys(values).length > 0 && { enum: values }) };
}

function table({ attributes, constraints }: Definition): { readonly attributes: Readonly<Record<string, unknown>> } {
  const own = Object.entries(attributes).filter(([name, { profile }]) => name !== "$include" && !profile);
  return {
    ...(constraints && Object.keys(constraints).length > 0 && { constraints }),
    attributes: Object.fromEntries(
      own.map(([name, attribute]) => {
        const all = merged(dictionary.attributes[name], attribute);
        const deprecated = all["@deprecated"] !== undefined;
        return [
          name,
          {
            type: all.type,
            ...(all.is_array && { array: true }),
            ...(all.requirement === "required" && { required: true }),
            ...(deprecated && { deprecated: true }),
            ...(all.enum && { enum: Object.keys(all.enum) }),
          },
        ];
      }),
    ),
  };
}

const event = resolved(join(checkout, classFile), dirname(join(checkout, classFile)));
const { attributes: categories } = read<{ attributes: Record<string, { uid: number }> }>(join(checkout, "categories.json"));
const category = categories[event.category ?? ""]?.uid ?? 0;
const uid = category * 1000 + (event.uid ?? 0);
const activities = Object.keys(event.attributes["activity_id"]?.enum ?? {});
/** What OCSF's own compiler fills in: the numbers that say which class it is. */
const identity = {
  category_uid: { type: "integer_t", required: true, enum: [`${category}`] },
  class_uid: { type: "integer_t", required: true, enum: [`${uid}`] },
  type_uid: { type: "long_t", required: true, enum: activities.map((activity) => `${uid * 100 + Number(activity)}`) },
};
const own = table(event);
const types = Object.entries(dictionary.types.attributes as Record<string, { type?: string; regex?: string; max_len?: number }>);
const result = {
  source: "https://github.com/ocsf/ocsf-schema",
  version: read<{ version: string }>(join(checkout, "version.json")).version,
  class: { name: event.name, uid, ...own, attributes: { ...own.attributes, ...identity } },
  objects: Object.fromEntries(objects.map((name) => [name, table(resolved(join(checkout, `objects/${name}.json`), join(checkout, "objects")))])),
  types: Object.fromEntries(types.map(([name, { type, regex, max_len: maxLength }]) => [name, { type, regex, maxLength }])),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
