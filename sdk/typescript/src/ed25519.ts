/**
 * Ed25519 by WebCrypto, with the rules that RFC 8032 leaves open (docs/receipts.md, "Keys and signatures").
 *
 * They are checked before the platform is asked, because platforms differ: no key or R of small order, nothing that
 * is not the shortest encoding, S below the order of the group.
 */

import { hex, unhex, type Bytes } from "./bytes.js";
import { sha256, webCrypto } from "./digest.js";
import { PlatformError } from "./errors.js";
import { utf8 } from "./bytes.js";

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SMALL_ORDER_Y = new Set([0n, 1n, P - 1n, ORDER_8_Y, P - ORDER_8_Y]);

const number = (bytes: Uint8Array): bigint => BigInt(`0x${hex(Uint8Array.from(bytes).reverse())}`);

function pointProblem(encoded: Uint8Array): string | undefined {
  const y = number(encoded) & (2n ** 255n - 1n);
  if (y >= P) return "it is not canonically encoded";
  if (SMALL_ORDER_Y.has(y)) return "it is a point of small order, under which anyone can sign";
  return undefined;
}

/** Why bytes are not an acceptable Ed25519 public key, or undefined. */
export function keyProblem(publicKey: Uint8Array): string | undefined {
  if (publicKey.length !== 32) return "an Ed25519 public key has 32 bytes";
  const problem = pointProblem(publicKey);
  return problem === undefined ? undefined : `the Ed25519 key proves nothing: ${problem}`;
}

/** The keyid of a public key, as securesystemslib computes it. It is a hint, not a proof. */
export function keyId(publicKey: Uint8Array): string {
  return sha256(utf8(`{"keytype":"ed25519","keyval":{"public":"${hex(publicKey)}"},"scheme":"ed25519"}`));
}

let support: Promise<void> | undefined;

async function checkSupport(): Promise<void> {
  try {
    // RFC 8032, section 7.1, TEST 1
    const key = await imported(unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"));
    const signature = unhex(
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
    if (!(await webCrypto().verify("Ed25519", key, signature, new Uint8Array(0)))) throw new Error("a wrong answer");
  } catch (error) {
    if (error instanceof PlatformError) throw error;
    throw new PlatformError("this platform's WebCrypto has no Ed25519", {
      hint: "use Node 20, Chromium 137, Firefox 129 or Safari 17, or newer",
      cause: error,
    });
  }
}

const imported = (publicKey: Bytes): Promise<CryptoKey> =>
  webCrypto().importKey("raw", publicKey, "Ed25519", false, ["verify"]);

/** Whether a signature is valid. Throws: `PlatformError` if the platform cannot say. */
export async function verifySignature(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  if (keyProblem(publicKey) !== undefined || signature.length !== 64) return false;
  if (pointProblem(signature.subarray(0, 32)) !== undefined || number(signature.subarray(32)) >= L) return false;
  await (support ??= checkSupport());
  try {
    const key = await imported(Uint8Array.from(publicKey));
    return await webCrypto().verify("Ed25519", key, Uint8Array.from(signature), Uint8Array.from(message));
  } catch {
    return false; // the key is no point of the curve
  }
}
