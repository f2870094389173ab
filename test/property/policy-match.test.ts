/** Which rule decides, what may change, how grave a difference is. */

import { Severity } from "@hullmark/proto/v1/common";
import {
  containerRules,
  defaultPolicy,
  matchRule,
  measurementFor,
  mutableClassesFor,
  type Policy,
  parsePolicy,
  severityFor,
} from "@hullmark/verifier/core/policy/index";
import { describe, expect, it } from "vitest";

const container = {
  imageReference: "registry.example/shop/cart:1",
  containerName: "cart-1",
  workload: "shop-cart",
  labels: { tier: "web-a" },
  nodeName: "w-07",
};
const policy = (spec: string): Policy => {
  const parsed = parsePolicy(`apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: t }\nspec:\n${spec}`, "t");
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  return parsed.policy;
};
const path = (text: string) => Buffer.from(text);

describe("rules", () => {
  const rules = policy(`
  rules:
    - { name: by-label, select: { images: ["registry.example/**"], labels: { tier: "web-*" } }, allow: { env: ["LC_*"], capabilities: [cap_net_admin] }, severities: { content: low, upper/content: medium } }
    - { name: by-image, select: { images: ["registry.example/*/cart:?"] }, allow: { privileged: true, hostNamespaces: [pid], code: [memfd] } }
  severities: { content: critical, added: high }`);

  it("are tried in order, every condition counts, absent labels and inherited names never match", () => {
    expect(matchRule(rules, container)?.name).toBe("by-label");
    expect(matchRule(rules, { ...container, labels: { tier: "db" } })?.name).toBe("by-image");
    expect(matchRule(rules, { ...container, labels: {}, imageReference: "registry.example/shop/cart:12" })).toBeUndefined();
    expect(matchRule(policy(`\n  rules: [{ name: p, select: { labels: { constructor: "**" } } }]`), container)).toBeUndefined();
  });

  it("allow what they name and nothing else", () => {
    const { allow, hasPolicy } = containerRules(rules, container);
    expect(hasPolicy).toBe(true);
    expect([
      allow.env("LC_ALL"),
      allow.env("LD_PRELOAD"),
      allow.capability("NET_ADMIN"),
      allow.capability("CAP_NET_ADMIN"),
      allow.capability("SYS_ADMIN"),
      allow.privileged,
    ]).toEqual([true, false, true, true, false, false]);
    const second = containerRules(rules, { ...container, labels: {} });
    expect([
      second.allow.privileged,
      second.allow.hostNamespace("pid"),
      second.allow.hostNamespace("net"),
      second.allow.code("memfd"),
      second.allow.code("tmpfs"),
    ]).toEqual([true, true, false, true, false]);
  });

  it("give severities: the rule's before the policy's, the place's before the kind's", () => {
    const rule = matchRule(rules, container);
    expect(severityFor(rules, rule, "upper", "content")).toBe("medium");
    expect(severityFor(rules, rule, "layer", "content")).toBe("low");
    expect(severityFor(rules, rule, "upper", "added")).toBe("high");
    expect(severityFor(rules, rule, "upper", "mode")).toBeUndefined();
    expect(containerRules(rules, container).severity("upper", "content", Severity.HIGH)).toBe(Severity.MEDIUM);
    expect(containerRules(rules, container).severity("upper", "mode", Severity.HIGH)).toBe(Severity.HIGH);
  });

  it("say no policy where none is loaded or none applies: nothing is required, code and files are judged all the same", () => {
    for (const rule of [containerRules(defaultPolicy(), container), containerRules(rules, { ...container, imageReference: "other" })]) {
      expect(rule.hasPolicy).toBe(false);
      expect([rule.allow.env("ANY"), rule.allow.privileged, rule.allow.mount("/x"), rule.allow.user("0"), rule.allow.code("memfd")]).toEqual([
        true,
        true,
        true,
        true,
        false,
      ]);
      expect([rule.mutable(path("/usr/bin/x"), false), rule.mutable(path("/tmp/x"), false), rule.mutable(path("/tmp/x"), true)]).toEqual([false, true, false]);
    }
  });
});

describe("mutable classes", () => {
  const classes = policy(`
  mutable:
    - { name: logs, class: data, paths: ["/var/log/**"] }
    - { name: plugins, class: any, select: { containers: ["cart-*"] }, paths: ["/srv/plugins/**"] }
    - { name: far, class: any, select: { nodes: ["x-*"], images: [a, b], containers: [c, d] }, paths: ["/far/**"] }`);

  it("let data change, and executables only where said", () => {
    const mutable = mutableClassesFor(classes, container);
    expect([
      mutable(path("/var/log/a"), false),
      mutable(path("/var/log/a"), true),
      mutable(path("/srv/plugins/p.so"), true),
      mutable(path("/far/x"), false),
      mutable(path("/var/log"), false),
    ]).toEqual([true, false, true, false, false]);
    expect(mutableClassesFor(classes, { ...container, containerName: "db" })(path("/srv/plugins/p.so"), false)).toBe(false);
    expect(mutable(Buffer.from("/tmp/\xff\n", "latin1"), false)).toBe(true);
  });

  it("can do without the built-in scratch paths", () => {
    const bare = policy("\n  mutableDefaults: false");
    expect(mutableClassesFor(bare, container)(path("/tmp/x"), false)).toBe(false);
  });

  it("go to the nodes that they are for, one class for each pair of image and container", () => {
    expect(measurementFor(classes, "w-07").mutableClasses.map(({ paths, executables }) => [paths[0], executables])).toEqual([
      ["/tmp/**", false],
      ["/var/log/**", false],
      ["/srv/plugins/**", true],
    ]);
    const far = measurementFor(classes, "x-1").mutableClasses.slice(3);
    expect(far.map(({ imageGlob, containerGlob }) => imageGlob + containerGlob)).toEqual(["ac", "ad", "bc", "bd"]);
    expect(measurementFor(classes, "x-1")).toMatchObject({ intervals: { quoteSeconds: 60 }, budget: { maxSeconds: 300 } });
  });
});
