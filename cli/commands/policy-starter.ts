/** The policy that `hullmark policy init` writes: valid as it stands, with what to do next in its comments. */

/** @param keyFile path of a public key, relative to the policy; undefined: no authority yet */
export function starterPolicy(name: string, keyFile: string | undefined): string {
  const authorities = keyFile
    ? `  authorities:
    - name: release
      keyFile: ${JSON.stringify(keyFile)}
`
    : `  # Whose signatures count. Until there is one, images show "provenance none".
  authorities: []
  #  - name: release
  #    keyFile: cosign.pub        # relative to this file
`;
  const required = keyFile
    ? `      require:
        signatures: { authorities: [release], threshold: any }
`
    : `      # require:
      #   signatures: { authorities: [release], threshold: any }
`;
  return `# Hullmark policy: observes and tells, changes nothing. All that can stand here: docs/policy.md
apiVersion: hullmark.dev/v1
kind: Policy
metadata:
  name: ${JSON.stringify(name)}
spec:
  mode: observe
${authorities}
  # The first rule that selects a container decides. This one takes them all.
  rules:
    - name: all
${required}      allow:                        # remove lines once you know what your containers should have
        env: ["**"]
        mounts: ["/**"]
        args: true
        users: ["**"]

  # Paths that workloads write. data: nothing that can be executed. /tmp, /var/tmp, /run and /var/run are built in.
  mutable:
    - name: logs
      class: data
      paths: ["/var/log/**"]

  alerts:
    routes: []
    #  - name: pager
    #    type: alertmanager
    #    url: http://127.0.0.1:9093
    #    minSeverity: high
`;
}
