/** Which URLs an account server may have: https, or http on this machine, since passwords go there. */

/** What is wrong with a URL as the account server's, or null. */
export function accountServerProblem(text: string): string | null {
  if (!/^https?:/i.test(text) || !URL.canParse(text)) return 'must be an http or https URL';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'must not hold an account';
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    return 'must be https: passwords go there, http is only for loopback addresses';
  }
  return null;
}

/** Of a URL's normalised host name: `127.1` is `127.0.0.1` there. */
function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** The API's address below the configured one. */
export function renewUrl(accountServer: string): URL {
  const url = new URL(accountServer);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/v1/renew`;
  url.search = url.hash = '';
  return url;
}
