/** The library's readers of X.509, with the reflection that has to be there before them. Bundles load it when the first certificate is read. */
import "reflect-metadata";

export { BasicConstraintsExtension, KeyUsageFlags, KeyUsagesExtension, X509Certificate as ReadCertificate } from "@peculiar/x509";
