/** The managed objects of a small vSphere: one datacenter, one datastore, one virtual machine. */
import type { XmlElement } from './soap.ts';
import { childrenOf, escapeXml, field, reference, SoapFault } from './soap.ts';

export interface Inventory {
  readonly datastore: string;
  readonly machine: string;
  readonly uuid: string;
}

export const ID = {
  folder: 'group-d1',
  datacenter: 'datacenter-2',
  datastore: 'datastore-3',
  machine: 'vm-4',
} as const;

/** The properties of the objects that do not change, each `val` or nothing. */
export function propertyOf({ datastore, machine, uuid }: Inventory, id: string, path: string): string | null {
  const name = { [ID.folder]: 'Datacenters', [ID.datacenter]: 'ha-datacenter' };
  switch (`${id} ${path}`) {
    case `${ID.folder} name`:
    case `${ID.datacenter} name`:
      return field('val', name[id as keyof typeof name], 'xsd:string');
    case `${ID.datastore} name`:
      return field('val', datastore, 'xsd:string');
    case `${ID.machine} name`:
      return field('val', machine, 'xsd:string');
    case `${ID.machine} config.uuid`:
      return field('val', uuid, 'xsd:string');
    case 'guestOperations processManager':
      return reference('val', 'GuestProcessManager', 'guestOperationsProcessManager', MO);
    default:
      return null;
  }
}

const MO = ' xsi:type="ManagedObjectReference"';

/** What a container view shows, by type. */
export function viewOf(types: readonly string[]): string {
  const all = [
    ['Datacenter', ID.datacenter],
    ['Datastore', ID.datastore],
    ['VirtualMachine', ID.machine],
  ] as const;
  const shown = all.filter(([type]) => types.length === 0 || types.includes(type));
  const items = shown.map(([type, id]) => reference('ManagedObjectReference', type, id)).join('');
  return `<val xsi:type="ArrayOfManagedObjectReference">${items}</val>`;
}

/** The answer of RetrievePropertiesEx for one object and any properties. */
export function propertiesResult(
  call: XmlElement,
  property: (id: string, path: string) => string | null,
): string {
  const [set] = childrenOf(call, 'specSet');
  const [objectSpec] = set === undefined ? [] : childrenOf(set, 'objectSet');
  const [object] = objectSpec === undefined ? [] : childrenOf(objectSpec, 'obj');
  const paths =
    set === undefined ? [] : childrenOf(set, 'propSet').flatMap((each) => childrenOf(each, 'pathSet'));
  if (object === undefined) throw new SoapFault('InvalidArgument', 'no object');
  const found = paths.flatMap(({ text }) => {
    const value = property(object.text, text);
    return value === null ? [] : [`<propSet><name>${escapeXml(text)}</name>${value}</propSet>`];
  });
  const obj = reference('obj', object.attributes.type ?? '', object.text);
  return `<returnval><objects>${obj}${found.join('')}</objects></returnval>`;
}

export const SERVICE_CONTENT = `<returnval>${reference('rootFolder', 'Folder', ID.folder)}${reference(
  'propertyCollector',
  'PropertyCollector',
  'propertyCollector',
)}${reference('viewManager', 'ViewManager', 'viewManager')}<about>${[
  ['name', 'simulated host'],
  ['fullName', 'simulated host'],
  ['vendor', 'test'],
  ['version', '6.5.0'],
  ['build', '1'],
  ['osType', 'linux-x64'],
  ['productLineId', 'embeddedEsx'],
  ['apiType', 'HostAgent'],
  ['apiVersion', '6.5'],
]
  .map(([name = '', value = '']) => field(name, value))
  .join('')}</about>${reference('sessionManager', 'SessionManager', 'sessionManager')}${reference(
  'searchIndex',
  'SearchIndex',
  'searchIndex',
)}${reference('guestOperationsManager', 'GuestOperationsManager', 'guestOperations')}</returnval>`;
