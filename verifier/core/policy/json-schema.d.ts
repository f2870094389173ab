export declare function policyJsonSchema(): Record<string, unknown>;
