export { type CachingOptions, CachingRegistry } from "./caching.ts";
export { OciRegistry, type OciRegistryOptions } from "./client.ts";
export { type CredentialSource, type Credentials, defaultDockerConfigPath, dockerConfigCredentials } from "./docker-config.ts";
export { type Mirror, MirroringRegistry } from "./mirroring.ts";
export { ListedRegistries, outside } from "./reach.ts";
