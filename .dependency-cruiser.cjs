// The import rules of ARCHITECTURE.md, each with its reason. `npm run check` fails on any violation.

// The visitor of @swc/core, by which the cruiser reads TypeScript, does not know `using` declarations: teach it to look into them.
const { default: Visitor } = require("@swc/core/Visitor");
const visitStatement = Visitor.prototype.visitStatement;
Visitor.prototype.visitStatement = function (statement) {
  if (statement.type !== "UsingDeclaration") return visitStatement.call(this, statement);
  statement.decls = this.visitVariableDeclarators(statement.decls);
  return statement;
};

/** Modules of Node that do I/O, tell the time, or reach the environment; what is left (buffer, util, crypto's hashes) is pure. */
const IMPURE = [
  "^(node:)?(fs|fs/promises|net|tls|http|https|http2|dgram|dns|dns/promises|child_process|cluster|worker_threads|os|process|timers|timers/promises)$",
  "^(node:)?(readline|readline/promises|repl|tty|inspector|perf_hooks|v8|vm|wasi|diagnostics_channel|async_hooks|trace_events|sqlite|test)$",
];

/** The vendor SDKs that a core may use: pure functions over bytes and values. */
const PURE_PACKAGES = [
  "^node_modules/(@bufbuild/protobuf|@peculiar/|reflect-metadata|@bufbuild/cel|@sigstore/(bundle|core|verify)|zod|yaml|picomatch|packageurl-js|ae-cvss-calculator|diff/)",
];

module.exports = {
  forbidden: [
    {
      name: "daemon-stands-alone",
      comment: "What a process of Hullmark does to start, log and stop depends on nothing that it measures or judges.",
      severity: "error",
      from: { path: "^daemon/" },
      to: { path: "^(agent|actuator|verifier|cli|native|proto|deploy|test|bench)/" },
    },
    {
      name: "daemon-only-where-processes-are-wired",
      comment:
        "Command line, configuration file and signals belong to the composition roots: no core, port, adapter or API may lean on them. The command takes the version from it, nothing else; adapters the client of the API server.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier|cli)/", pathNot: "^(agent|actuator|verifier)/[^/]+[.]ts$" },
      to: { path: "^daemon/", pathNot: "^daemon/(version|api-server)[.]ts$" },
    },
    {
      name: "core-imports-own-core-and-ports",
      comment: "A core decides; it knows its own ports and the shared codec and nothing that talks to the world, so that it can be tested with values alone.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier)/core/" },
      to: { path: "^(agent|actuator|verifier|cli|native|proto|deploy|test|bench)/", pathNot: ["^$1/(core|ports)/", "^proto/codec/"] },
    },
    {
      name: "core-does-no-io",
      comment: "No file, socket, process, clock or environment in a core: a verdict is a function of what was handed in.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier)/core/|^proto/codec/" },
      to: { dependencyTypes: ["core"], path: IMPURE },
    },
    {
      name: "core-uses-pure-packages-only",
      comment: "A package in a core must compute only; anything with a socket or a file belongs in an adapter.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier)/core/" },
      to: { path: "^node_modules/", pathNot: PURE_PACKAGES },
    },
    {
      name: "ports-are-types",
      comment: "A port is a contract: it names types of core, codec and messages, and runs nothing.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier)/ports/" },
      to: { pathNot: ["^$1/(core|ports)/", "^proto/", "^capture/capture[.]ts$", "^node_modules/@bufbuild/protobuf/"] },
    },
    {
      name: "adapter-knows-no-other-adapter",
      comment: "Adapters meet only in main.ts; one that leans on another cannot be replaced alone.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier)/adapters/([^/]+)" },
      to: { path: "^(agent|actuator|verifier)/adapters/", pathNot: "^$1/adapters/$2" },
    },
    {
      name: "adapter-imports-ports-and-core",
      comment: "An adapter fulfils a port with one vendor's SDK; it does not reach into the API, main or another workspace's inside.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier)/adapters/" },
      to: { path: "^(agent|actuator|verifier|cli|native|deploy|test|bench)/", pathNot: ["^$1/(adapters|core|ports)/", "^native/(index|loader)\\.ts$"] },
    },
    {
      name: "api-imports-core-and-contract",
      comment: "An API translates between the wire and the core; it wires nothing and knows no adapter.",
      severity: "error",
      from: { path: "^verifier/api/" },
      to: { path: "^(agent|actuator|verifier|cli|native|deploy|test|bench)/", pathNot: "^verifier/(api|core|ports)/" },
    },
    {
      name: "agent-and-verifier-meet-in-proto",
      comment:
        "Attester, actuator and Verifier share only what both must compute byte for byte (and, in daemon, how a process starts and stops); a verifier that runs agent code trusts what it should judge.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier)/" },
      to: { path: "^(agent|actuator|verifier)/", pathNot: "^$1/" },
    },
    {
      name: "proto-stands-alone",
      comment: "What both sides share depends on neither.",
      severity: "error",
      from: { path: "^proto/" },
      to: { path: "^(daemon|agent|actuator|verifier|cli|native|deploy|test|bench)/" },
    },
    {
      name: "capture-stands-alone",
      comment: "What a host's actuator and a node's agent keep of a container is gathered, sealed and handed out by the same code, which knows neither.",
      severity: "error",
      from: { path: "^capture/" },
      to: { path: "^(daemon|agent|actuator|verifier|cli|native|deploy|test|bench)/" },
    },
    {
      name: "capture-files-only-where-processes-are-wired",
      comment:
        "Core, ports and adapters know what a capture is; where its files lie and how they are sealed is for whoever wires them. A verifier holds no captures.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier|cli)/", pathNot: "^(agent|actuator)/[^/]+[.]ts$" },
      to: { path: "^capture/", pathNot: ["^capture/(capture|hand-out|archive)[.]ts$"] },
    },
    {
      name: "native-stands-alone",
      comment: "The bridge carries plain values: no type of agent or verifier crosses it.",
      severity: "error",
      from: { path: "^native/" },
      to: { path: "^(daemon|agent|actuator|verifier|cli|deploy|test|bench)/" },
    },
    {
      name: "native-only-in-agent-adapters",
      comment: "Only agent adapters touch the addon; test code and benches may measure it directly.",
      severity: "error",
      from: { pathNot: "^(native|agent/adapters|test|bench|deploy)/" },
      to: { path: "^native/" },
    },
    {
      name: "response-sees-no-evidence",
      comment: "Relying parties act on Attestation Results, never on raw Evidence (RFC 9334).",
      severity: "error",
      from: { path: "^verifier/core/response/" },
      to: { path: ["^proto/codec/evidence", "evidence"] },
    },
    {
      name: "response-decides-on-results-alone",
      comment: "What is acted on has been appraised: response reads rows and policy, never measuring, sessions or images.",
      severity: "error",
      from: { path: "^verifier/core/response/" },
      to: { path: "^verifier/core/(appraisal|session|ima|measured-boot|images|reference-value|endorsement)/" },
    },
    {
      name: "engine-only-in-the-actuator",
      comment: "The verifier reaches no container engine: whoever takes it over can ask, not act.",
      severity: "error",
      from: { path: "^(verifier|cli)/" },
      to: { path: "^node_modules/dockerode/" },
    },
    {
      name: "tokens-in-one-adapter",
      comment: "A PKCS#11 module is foreign code in our process: whoever has no key in a token never loads it, and agent and actuator have no way to.",
      severity: "error",
      from: { pathNot: "^(verifier/adapters/pkcs11|test)/" },
      to: { path: "^node_modules/pkcs11js/" },
    },
    {
      name: "cli-is-a-client",
      comment:
        "The command talks to the verifier's API or computes with its pure core; it never reaches into an agent or an adapter. Setting up a host (cli/host) starts the bundles of agent and verifier as programs, and imports neither.",
      severity: "error",
      from: { path: "^cli/", pathNot: "^cli/signing/" },
      to: { path: "^(agent|actuator|verifier|native|test|bench)/", pathNot: "^verifier/(core|ports)/" },
    },
    {
      name: "cli-signing-wires-registry-and-keys",
      comment: "Signing and verifying in a build pipeline happen without a verifier, and must judge exactly as it does: cli/signing wires the same adapters.",
      severity: "error",
      from: { path: "^cli/signing/" },
      to: { path: "^(agent|actuator|verifier|native|test|bench)/", pathNot: "^verifier/(core|ports|adapters/(oci-registry|sigstore|notary|pkcs11))/" },
    },
    {
      name: "dashboard-is-a-page",
      comment:
        "It asks the verifier and shows what the command shows, in the command's words: pure text alone is taken over, and none of it holds a key or a socket.",
      severity: "error",
      from: { path: "^dashboard/src/" },
      to: {
        path: "^(daemon|agent|actuator|verifier|cli|native|proto|deploy|test|bench)/",
        pathNot: [
          "^verifier/core/(text/printable|alerting/text)[.]ts$",
          "^cli/(output/(words|exception-page|drill-standing|text-diff)|incident/timeline|playbook/page)[.]ts$",
        ],
      },
    },
    {
      name: "dashboard-is-served-as-files",
      comment: "The verifier hands the page out as it was bundled; nobody imports it.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier|cli|native|proto|daemon)/" },
      to: { path: "^dashboard/" },
    },
    {
      name: "production-knows-no-test",
      comment: "What is shipped must not need what is not.",
      severity: "error",
      from: { path: "^(agent|actuator|verifier|cli|dashboard|native|proto|daemon)/" },
      to: { path: "^(test|bench|deploy)/" },
    },
    {
      name: "no-cycles",
      comment: "Modules in a ring have no order in which to be understood. Type-only imports are erased and may point back.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "no-undeclared-packages",
      comment: "A package that no package.json of the workspace declares may vanish with the next install.",
      severity: "error",
      from: {},
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown", "unknown", "undetermined"] },
    },
    {
      name: "resolvable",
      comment: "An import that resolves to nothing fails at run time.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    parser: "swc",
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(build|dist|\\.hullmark)/|/gen/" },
    tsPreCompilationDeps: true,
    combinedDependencies: true,
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default", "types"],
      extensions: [".ts", ".tsx", ".js", ".cjs", ".mjs", ".json", ".node"],
    },
  },
};
