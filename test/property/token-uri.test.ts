/** PKCS#11 URIs (RFC 7512): what is written is read back, what is refused is refused by one code and quoted nowhere. */
import { objectUri, parseTokenUri } from "@hullmark/verifier/adapters/pkcs11/uri";
import { SignerError } from "@hullmark/verifier/ports/signer";
import fc from "fast-check";
import { expect, test } from "vitest";

const refused = (text: string): string => {
  try {
    parseTokenUri(text);
  } catch (error) {
    expect(error).toBeInstanceOf(SignerError);
    expect((error as SignerError).code).toBe("TOKEN_URI");
    return (error as SignerError).message;
  }
  throw new Error(`${text} was taken`);
};

test("an object's URI is read back as it was written, whatever its label and id", () => {
  const label = fc.string({ minLength: 1, maxLength: 40, unit: "grapheme" }).filter((text) => text.isWellFormed() && !/\p{Cc}/u.test(text));
  fc.assert(
    fc.property(label, fc.uint8Array({ maxLength: 20 }), (object, id) => {
      const { object: read, id: readId, type } = parseTokenUri(objectUri(object, id, "private"));
      expect({ read, readId: readId ?? Buffer.alloc(0), type }).toEqual({ read: object, readId: Buffer.from(id), type: "private" });
    }),
  );
});

test("the examples of RFC 7512 that concern us, and ours", () => {
  expect(parseTokenUri("pkcs11:object=my-pubkey;type=public")).toEqual({ object: "my-pubkey", type: "public" });
  expect(
    parseTokenUri("pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;object=my-certificate;id=%69%95%3E%5C%F4%BD%EC%91"),
  ).toEqual({
    ...{ token: "The Software PKCS#11 Softtoken", manufacturer: "Snake Oil, Inc.", object: "my-certificate" },
    id: Buffer.from("69953e5cf4bdec91", "hex"),
  });
  expect(parseTokenUri("pkcs11:token=t?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/token_pin")).toEqual({
    ...{ token: "t", modulePath: "/usr/lib/softhsm/libsofthsm2.so", pinSource: "file:/etc/token_pin" },
  });
});

test("what is doubtful is refused: doubled, unknown, empty, not encoded, relative, run as a program, too long", () => {
  for (const text of [
    ...["", "pkcs11", "PKCS11:token=a", "pkcs12:token=a", "pkcs11:token=a;token=b", "pkcs11:token=", "pkcs11:token", "pkcs11:;token=a", "pkcs11:color=red"],
    ...["pkcs11:token=a b", "pkcs11:token=%zz", "pkcs11:token=%4", "pkcs11:token=%00", "pkcs11:token=%ff", "pkcs11:toString=a", "pkcs11:__proto__=a"],
    ...["pkcs11:token=a?module-path=lib.so", "pkcs11:token=a?pin-source=|/bin/cat%20pin", "pkcs11:token=a?pin-source=pin", "pkcs11:token=a?pin-source=env:1"],
    ...["pkcs11:token=a?module-path=/a?pin-source=/b", "pkcs11:module-path=/a", "pkcs11:token=a?token=a", `pkcs11:token=${"a".repeat(3000)}`],
  ])
    refused(text);
});

test("a PIN in the URI is refused and repeated nowhere, also where the rest is no URI", () => {
  const pin = fc.stringMatching(/^[a-z0-9]{8,16}$/);
  fc.assert(
    fc.property(
      pin,
      fc.constantFrom("pkcs11:token=a?pin-value=", "pkcs11:token=a;pin-value=", "pkcs11:token=a?PIN=", "pkcs11:token=a?pin-source="),
      (secret, before) => {
        expect(refused(before + secret)).not.toContain(secret);
      },
    ),
  );
});
