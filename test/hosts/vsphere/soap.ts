/** SOAP as a vSphere endpoint speaks it, the part that pyVmomi uses: one element of the body is the call, its children the arguments. */

export interface XmlElement {
  /** Without its prefix. */
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  readonly text: string;
}

/** What a method answers instead of a result; pyVmomi raises `vim.fault.NAME` or `vmodl.fault.NAME`. */
export class SoapFault extends Error {
  override readonly name = 'SoapFault';
  readonly fault: string;
  constructor(fault: string, message: string) {
    super(message);
    this.fault = fault;
  }
}

const TOKEN = /<(\/?)([\w.:-]+)((?:\s+[\w.:-]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(\/?)>|([^<]+)|<[?!][^>]*>/g;
const ATTRIBUTE = /([\w.:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;

interface OpenElement extends XmlElement {
  readonly children: XmlElement[];
  text: string;
}

/** @throws {Error} for what is not well formed */
export function parseXml(source: string): XmlElement {
  const top: OpenElement = { name: '', attributes: {}, children: [], text: '' };
  const open = [top];
  for (const [, slash, tag = '', attributes = '', single, text] of source.matchAll(TOKEN)) {
    const current = open.at(-1);
    if (current === undefined) break;
    if (text !== undefined) current.text += unescapeXml(text);
    else if (slash === '/') open.pop();
    else if (tag !== '') {
      const element: OpenElement = {
        name: tag.replace(/^.*:/, ''),
        attributes: Object.fromEntries(
          [...attributes.matchAll(ATTRIBUTE)].map(([, name = '', first, second]) => [
            name.replace(/^.*:/, ''),
            unescapeXml(first ?? second ?? ''),
          ]),
        ),
        children: [],
        text: '',
      };
      current.children.push(element);
      if (single !== '/') open.push(element);
    }
  }
  const [root] = top.children;
  if (root === undefined || open.length !== 1) throw new Error('not well-formed XML');
  return root;
}

export const childrenOf = (element: XmlElement, name: string): readonly XmlElement[] =>
  element.children.filter((child) => child.name === name);

export const childOf = (element: XmlElement, name: string): XmlElement | undefined =>
  childrenOf(element, name)[0];

export const textOf = (element: XmlElement, name: string): string => childOf(element, name)?.text ?? '';

const NAMED: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replaceAll(/&(?:#(\d+)|#x([\da-f]+)|(\w+));/gi, (_, decimal, hex, name) =>
    name === undefined
      ? String.fromCodePoint(decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal))
      : (NAMED[name] ?? ''),
  );
}

export function escapeXml(text: string): string {
  return text.replaceAll(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A managed object as a value. */
export const reference = (element: string, type: string, id: string, attributes = ''): string =>
  `<${element} type="${type}"${attributes}>${escapeXml(id)}</${element}>`;

export const field = (element: string, value: string | number | boolean, type?: string): string =>
  `<${element}${type === undefined ? '' : ` xsi:type="${type}"`}>${escapeXml(String(value))}</${element}>`;

const HEAD =
  '<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>';
const TAIL = '</soapenv:Body></soapenv:Envelope>';

/** @param results elements `returnval` */
export const response = (method: string, results: string): string =>
  `${HEAD}<${method}Response xmlns="urn:vim25">${results}</${method}Response>${TAIL}`;

export const faultResponse = ({ fault, message }: SoapFault): string =>
  `${HEAD}<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>${escapeXml(message)}</faultstring><detail><${fault}Fault xmlns="urn:vim25" xsi:type="${fault}"></${fault}Fault></detail></soapenv:Fault>${TAIL}`;

/** The call in a request. */
export function callOf(request: string): XmlElement {
  const envelope = parseXml(request);
  const body = childOf(envelope, 'Body');
  const call = body?.children[0];
  if (call === undefined) throw new Error('no SOAP call');
  return call;
}
