/* node provider.js KEY CERTIFICATE TOKEN_SECONDS: a certified OpenID Connect provider (oidc-provider) on loopback, over https for
 * clients and http for those who fetch its keys. It prints "ready https=HOST:PORT http=HOST:PORT", and "token SUBJECT" for each one it gives.
 * SPDX-License-Identifier: Apache-2.0 */
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import Provider from 'oidc-provider';

const [key, certificate, seconds] = process.argv.slice(2);
const lifetime = Number(seconds);

function client(id, secret, method) {
  return {
    client_id: id, client_secret: secret, token_endpoint_auth_method: method,
    grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope: 'kafka',
  };
}

function signingKey() {
  const pair = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...pair.privateKey.export({ format: 'jwk' }), kid: crypto.randomUUID(), use: 'sig', alg: 'RS256' };
}

function listening(server) {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

const secure = https.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(certificate) });
const plain = http.createServer();
const port = await listening(secure);
const keysPort = await listening(plain);

const provider = new Provider(`https://127.0.0.1:${port}`, {
  clients: [client('millrace', 's+e%c ret/&=', 'client_secret_basic'), client('poster', 'plain', 'client_secret_post'), client('stranger', 'unescaped', 'client_secret_basic')],
  jwks: { keys: [signingKey()] },
  cookies: { keys: [crypto.randomUUID()] },
  scopes: ['kafka'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:kafka',
      getResourceServerInfo: () => ({
        scope: 'kafka', audience: 'kafka', accessTokenTTL: lifetime, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});
provider.on('client_credentials.issued', (token) => console.log(`token ${token.clientId}`));
secure.on('request', provider.callback());
plain.on('request', provider.callback());
process.on('SIGTERM', () => process.exit(0));
console.log(`ready https=127.0.0.1:${port} http=127.0.0.1:${keysPort}`);
