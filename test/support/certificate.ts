/** Certificates of TLS servers, signed by themselves. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const exec = promisify(execFile);

/** Creates a key and a certificate for a name, such as `DNS:pay.example.com` or `IP:127.0.0.1`, and returns their paths. */
export async function createCertificate(dir: string, name: string): Promise<{ key: string; certificate: string }> {
  const [key, certificate] = [join(dir, "key.pem"), join(dir, "certificate.pem")];
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key];
  const subject = ["-subj", `/CN=${name.replace(/^\w+:/, "")}`, "-addext", `subjectAltName=${name}`];
  await exec("openssl", ["req", "-x509", "-days", "2", ...newKey, ...subject, "-out", certificate]);
  return { key, certificate };
}
