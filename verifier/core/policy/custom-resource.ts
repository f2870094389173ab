/** Policy and exceptions as kinds of Kubernetes, out of the schemas that decide. */
import { exceptionJsonSchema, policyJsonSchema } from "./json-schema.ts";

type Schema = { [key: string]: unknown };

/** Keywords that a structural schema may have (Kubernetes: Extend the API, "Specifying a structural schema"). Defaults are the verifier's to add. */
const KEPT = ["description", "enum", "format", "maxItems", "maxLength", "minItems", "minLength", "minimum", "maximum", "pattern", "required", "type"];

/**
 * A JSON Schema as a structural schema of Kubernetes. What that cannot say (one of several shapes, names of keys) is said more widely: the verifier,
 * which has the last word, tells in the object's status.
 */
function structural(schema: Schema): Schema {
  const shapes = (schema["anyOf"] ?? schema["oneOf"]) as Schema[] | undefined;
  if (shapes) return ofShapes(shapes);
  if ("const" in schema) return { type: typeof schema["const"], enum: [schema["const"]] };
  const kept: Schema = Object.fromEntries(KEPT.filter((key) => key in schema).map((key) => [key, schema[key]]));
  const { properties, items, additionalProperties } = schema as {
    properties?: Record<string, Schema>;
    items?: Schema;
    additionalProperties?: Schema | boolean;
  };
  if (properties) kept["properties"] = Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, structural(value)]));
  else if (typeof additionalProperties === "object") kept["additionalProperties"] = structural(additionalProperties);
  if (items) kept["items"] = structural(items);
  if (kept["type"] === undefined) throw new Error(`no type in ${JSON.stringify(schema).slice(0, 200)}`);
  return kept;
}

function ofShapes(shapes: readonly Schema[]): Schema {
  const types = new Set(shapes.map(({ type }) => type));
  if (types.size === 2 && types.has("integer")) return { "x-kubernetes-int-or-string": true };
  if (types.size !== 1 || !types.has("object")) throw new Error(`shapes of types ${[...types]}`);
  const all = shapes.map((shape) => structural(shape) as { properties: Record<string, Schema>; required?: string[] });
  const properties: Record<string, Schema> = {};
  for (const [key, value] of all.flatMap((shape) => Object.entries(shape.properties))) {
    const before = properties[key];
    const choices = before?.["enum"] as unknown[] | undefined;
    properties[key] = choices && value["enum"] ? { ...before, enum: [...new Set([...choices, ...(value["enum"] as unknown[])])] } : value;
  }
  const required = (all[0]?.required ?? []).filter((key) => all.every((shape) => shape.required?.includes(key)));
  return { type: "object", properties, ...(required.length > 0 && { required }) };
}

type Definition = Readonly<Record<string, unknown>>;

/** The CustomResourceDefinition of the policy file. */
export function attestationPolicyDefinition(): Definition {
  const { properties } = policyJsonSchema() as { properties: { spec: Schema } };
  const description = "What may run in the cluster and what may change there: the policy file of Hullmark, as an object.";
  return definition("AttestationPolicy", "attestationpolicies", "atp", description, properties.spec, []);
}

/** And of a team's exceptions. */
export function driftExceptionDefinition(): Definition {
  const description = "Files that may differ from the signed image in one workload of this namespace until a day, where the cluster's policy allows it.";
  return definition("DriftException", "driftexceptions", "dex", description, exceptionJsonSchema() as Schema, [
    column("Workload", ".spec.workload"),
    column("Expires", ".spec.expires"),
  ]);
}

const column = (name: string, jsonPath: string, type = "string") => ({ name, type, jsonPath });

function definition(kind: string, plural: string, shortName: string, description: string, spec: Schema, columns: readonly object[]): Definition {
  const condition = {
    type: "object",
    required: ["type", "status", "lastTransitionTime", "reason", "message"],
    properties: {
      type: { type: "string" },
      status: { type: "string", enum: ["True", "False", "Unknown"] },
      observedGeneration: { type: "integer" },
      lastTransitionTime: { type: "string", format: "date-time" },
      reason: { type: "string" },
      message: { type: "string" },
    },
  };
  const status = {
    type: "object",
    properties: { conditions: { type: "array", items: condition, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] } },
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.hullmark.dev` },
    spec: {
      group: "hullmark.dev",
      names: { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), shortNames: [shortName] },
      scope: "Namespaced",
      versions: [
        {
          ...{ name: "v1", served: true, storage: true, subresources: { status: {} } },
          additionalPrinterColumns: [
            column("In force", '.status.conditions[?(@.type=="InForce")].status'),
            column("Why", '.status.conditions[?(@.type=="InForce")].reason'),
            ...columns,
            column("Age", ".metadata.creationTimestamp", "date"),
          ],
          schema: { openAPIV3Schema: { type: "object", description, required: ["spec"], properties: { spec: structural(spec), status } } },
        },
      ],
    },
  };
}
