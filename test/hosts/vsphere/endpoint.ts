/**
 * A vSphere endpoint in front of the simulated virtual machine: as much of the SOAP API as guest operations and quiesced
 * snapshots by pyVmomi need. Errors of the guest become the faults that vSphere has for them.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ListedProcess, listProcesses, startProgram, VixError } from '../vmx/vix.ts';
import type { Vmx } from '../vmx/vmx.ts';
import { ID, type Inventory, propertiesResult, propertyOf, SERVICE_CONTENT, viewOf } from './inventory.ts';
import { type SnapshotOutcome, takeSnapshot } from './snapshot.ts';
import {
  callOf,
  childOf,
  childrenOf,
  faultResponse,
  field,
  reference,
  response,
  SoapFault,
  textOf,
  type XmlElement,
} from './soap.ts';

export interface VsphereOptions extends Inventory {
  readonly user: string;
  readonly password: string;
}

export interface VsphereEndpoint extends AsyncDisposable {
  readonly port: number;
  /** Methods that were called, in their order. */
  readonly calls: readonly string[];
}

const COOKIE = 'vmware_soap_session="simulated"';
const VERSIONS = `<?xml version="1.0"?><namespaces version="1.0"><namespace><name>urn:vim25</name><version>6.5</version><priorVersions><version>6.0</version><version>5.5</version></priorVersions></namespace></namespaces>`;

/** VIX errors and vSphere's names for them. */
const FAULTS: Readonly<Record<number, string>> = {
  3: 'InvalidArgument',
  4: 'FileNotFound',
  3015: 'GuestPermissionDenied',
  3050: 'InvalidGuestLogin',
};

/** Speaks HTTPS with a certificate of its own. Needs openssl. */
export async function startVsphere(vmx: Vmx, options: VsphereOptions): Promise<VsphereEndpoint> {
  const calls: string[] = [];
  const views = new Map<string, string>();
  const tasks = new Map<string, SnapshotOutcome | null>();
  let isLoggedIn = false;

  const methods: Readonly<Record<string, (call: XmlElement) => Promise<string> | string>> = {
    RetrieveServiceContent: () => SERVICE_CONTENT,
    Login(call) {
      if (textOf(call, 'userName') !== options.user || textOf(call, 'password') !== options.password)
        throw new SoapFault(
          'InvalidLogin',
          'Cannot complete login due to an incorrect user name or password.',
        );
      isLoggedIn = true;
      return session(options.user);
    },
    Logout() {
      isLoggedIn = false;
      return '';
    },
    RetrievePropertiesEx: (call) => propertiesResult(call, property),
    CreateContainerView(call) {
      const id = `view-${views.size + 1}`;
      views.set(id, viewOf(childrenOf(call, 'type').map(({ text }) => text.replace(/^.*:/, ''))));
      return reference('returnval', 'ContainerView', id);
    },
    DestroyView: () => '',
    FindByDatastorePath: (call) =>
      found(textOf(call, 'path') === `[${options.datastore}] ${options.machine}/${options.machine}.vmx`),
    FindByUuid: (call) => found(textOf(call, 'uuid').toLowerCase() === options.uuid),
    async StartProgramInGuest(call) {
      const spec = childOf(call, 'spec');
      if (spec === undefined) throw new SoapFault('InvalidArgument', 'no spec');
      const pid = await guest(
        startProgram(vmx, {
          ...loginOf(call),
          programPath: textOf(spec, 'programPath'),
          arguments: textOf(spec, 'arguments'),
          workingDirectory: textOf(spec, 'workingDirectory'),
          environment: childrenOf(spec, 'envVariables').map(({ text }) => text),
        }),
      );
      return field('returnval', pid);
    },
    async ListProcessesInGuest(call) {
      const pids = childrenOf(call, 'pids').map(({ text }) => Number(text));
      return (await guest(listProcesses(vmx, { ...loginOf(call), pids }))).map(processInfo).join('');
    },
    CreateSnapshot_Task(call) {
      const id = `task-${tasks.size + 1}`;
      tasks.set(id, null);
      void takeSnapshot(vmx, { quiesce: textOf(call, 'quiesce') === 'true' })
        .catch((error: unknown) => ({ kind: 'failed' as const, fault: 'SystemError', reason: String(error) }))
        .then((outcome) => tasks.set(id, outcome));
      return reference('returnval', 'Task', id);
    },
  };

  function property(id: string, path: string): string | null {
    const task = tasks.get(id);
    if (task !== undefined && path === 'info') return taskInfo(id, task);
    return path === 'view' ? (views.get(id) ?? null) : propertyOf(options, id, path);
  }

  async function answer(request: string): Promise<{ status: number; body: string }> {
    try {
      const call = callOf(request);
      calls.push(call.name);
      const method = methods[call.name];
      if (method === undefined) throw new SoapFault('MethodNotFound', call.name);
      if (!isLoggedIn && call.name !== 'RetrieveServiceContent' && call.name !== 'Login')
        throw new SoapFault('NotAuthenticated', 'The session is not authenticated.');
      return { status: 200, body: response(call.name, await method(call)) };
    } catch (error) {
      const fault = error instanceof SoapFault ? error : new SoapFault('SystemError', String(error));
      return { status: 500, body: faultResponse(fault) };
    }
  }

  const server = createServer(certificate(), async (request, reply) => {
    if (request.method === 'GET') {
      const isKnown = request.url === '/sdk/vimServiceVersions.xml';
      reply.writeHead(isKnown ? 200 : 404, { 'content-type': 'text/xml' }).end(isKnown ? VERSIONS : '');
      return;
    }
    const { status, body } = await answer(await bodyOf(request));
    reply.writeHead(status, { 'content-type': 'text/xml; charset=utf-8', 'set-cookie': COOKIE }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    calls,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function certificate(): { key: Buffer; cert: Buffer } {
  const directory = mkdtempSync(join(tmpdir(), 'vsphere-tls-'));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const files = ['-keyout', key, '-out', cert];
  try {
    execFileSync('openssl', ['req', '-x509', ...kind, ...files, '-subj', '/CN=localhost'], {
      stdio: 'ignore',
    });
    return { key: readFileSync(key), cert: readFileSync(cert) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

/** @throws {SoapFault} for what the guest refuses */
async function guest<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof VixError)) throw error;
    throw new SoapFault(FAULTS[error.error] ?? 'GuestOperationsFault', error.message);
  }
}

function loginOf(call: XmlElement): { user: string; password: string } {
  const auth = childOf(call, 'auth');
  if (auth === undefined) throw new SoapFault('InvalidArgument', 'no authentication');
  return { user: textOf(auth, 'username'), password: textOf(auth, 'password') };
}

const found = (isIt: boolean): string => (isIt ? reference('returnval', 'VirtualMachine', ID.machine) : '');

const time = (seconds: number): string => new Date(seconds * 1000).toISOString();

function processInfo({ name, pid, owner, startSeconds, endSeconds, exitCode }: ListedProcess): string {
  return `<returnval>${[
    field('name', name),
    field('pid', pid),
    field('owner', owner),
    field('cmdLine', name),
    field('startTime', time(startSeconds)),
    endSeconds === null ? '' : field('endTime', time(endSeconds)),
    exitCode === null ? '' : field('exitCode', exitCode),
  ].join('')}</returnval>`;
}

function taskInfo(id: string, outcome: SnapshotOutcome | null): string {
  const state = outcome === null ? 'running' : outcome.kind === 'taken' ? 'success' : 'error';
  const error =
    outcome?.kind === 'failed'
      ? `<error><fault xsi:type="${outcome.fault}"/>${field('localizedMessage', outcome.reason)}</error>`
      : '';
  return `<val xsi:type="TaskInfo">${field('key', id)}${reference('task', 'Task', id)}${field(
    'descriptionId',
    'VirtualMachine.createSnapshot',
  )}${field('state', state)}${field('cancelled', false)}${field('cancelable', false)}${error}<reason xsi:type="TaskReasonUser">${field(
    'userName',
    'test',
  )}</reason>${field('queueTime', time(0))}${field('eventChainId', 1)}</val>`;
}

function session(user: string): string {
  return `<returnval>${[
    field('key', 'session'),
    field('userName', user),
    field('fullName', user),
    field('loginTime', time(0)),
    field('lastActiveTime', time(0)),
    field('locale', 'en'),
    field('messageLocale', 'en'),
    field('extensionSession', false),
    field('ipAddress', '127.0.0.1'),
    field('userAgent', ''),
    field('callCount', 0),
  ].join('')}</returnval>`;
}
