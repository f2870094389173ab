export * from "./x509-ca.ts";
