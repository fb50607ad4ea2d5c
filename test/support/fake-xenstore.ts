/**
 * A store in memory with one domain, for unit tests of what sits on {@link Xenstore}: permissions, watches and transactions as spec/xenstore.md
 * sections 2, 4 and 7 say, no wire. The real thing is in the integration tests.
 */
import {
  type Watch,
  type Xenstore,
  type XenstoreAccess,
  XenstoreError,
  XenstoreGone,
} from '../../src/protocols/xenstore/xenstore.ts';

interface Node {
  value: Buffer;
  /** The first is the owner's. */
  permissions: string[];
}

type Tree = Map<string, Node>;
/** A change or read that the test forbids for a moment. */
type Fault = (request: string, path: string) => string | null;

export type Layout = 'xapi' | 'xl';

export interface FakeXenstore {
  /** The guest's side. */
  readonly guest: Xenstore;
  /** The host's side: may do everything. Paths are those of the guest's home. */
  readonly host: XenstoreAccess;
  /** The guest's changes since {@link forget}: `write data/updated`, `rm attr/vif/0`. */
  readonly changes: string[];
  /** Every value of a node that the guest has written, in order. */
  history(path: string): string[];
  text(path: string): string | null;
  /** Names and values of everything below a path. */
  tree(path: string): Record<string, string>;
  /** Wakes up as another domain: a fresh subtree, and every watch fires. `carried` is copied from the old one. */
  resume(domainId: number, carried?: readonly string[], uniqueId?: string): void;
  /** The same with the subtree of another fake. */
  replace(other: FakeXenstore, domainId: number): void;
  /** All watches fire. */
  fireAll(): void;
  /** As the end of the guest's connection does. */
  dropWatches(): void;
  /** For {@link replace}. */
  readonly nodes: ReadonlyMap<string, Node>;
  /** While set, the guest's requests fail with the error name that it gives; `GONE` is a lost connection. */
  fault: Fault | null;
  /** Resolves when no event is under way any more. */
  settle(): Promise<void>;
}

export interface FakeOptions {
  layout?: Layout;
  domainId?: number;
  /** Of one value that the guest writes. */
  maxValueBytes?: number;
  vmUuid?: string;
}

const SHARED = ['data', 'attr', 'drivers', 'feature', 'error'];
const XAPI_ONLY = ['control', 'vm-data', 'xenserver/attr'];

export function fakeXenstore(options: FakeOptions = {}): FakeXenstore {
  const { layout = 'xapi', maxValueBytes = 2015, vmUuid = 'f00d' } = options;
  let { domainId = 5 } = options;
  let tree: Tree = freshTree();
  let generation = 0;
  let fault: Fault | null = null;
  const watches = new Set<{ path: string; onEvent: (path: string) => void }>();
  const changes: string[] = [];
  const written: [path: string, value: string][] = [];

  function freshTree(): Tree {
    const fresh: Tree = new Map();
    const add = (path: string, value: string, permissions: string[]) =>
      fresh.set(path, { value: Buffer.from(value), permissions });
    add('', '', [`n0`, `r${domainId}`]);
    for (const [path, value] of [
      ['domid', String(domainId)],
      ['vm', `/vm/${vmUuid}`],
    ] as const)
      add(path, value, ['n0', `r${domainId}`]);
    if (layout === 'xapi') add('xenserver', '', ['n0', `r${domainId}`]);
    for (const path of [...SHARED, ...(layout === 'xapi' ? XAPI_ONLY : [])]) add(path, '', [`n${domainId}`]);
    return fresh;
  }

  const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));

  function mayAccess(node: Node, who: number, wanted: 'r' | 'w'): boolean {
    const [first = 'n0', ...others] = node.permissions;
    if (who === 0 || Number(first.slice(1)) === who) return true;
    const letter = (others.find((each) => Number(each.slice(1)) === who) ?? first).charAt(0);
    return letter === 'b' || letter === wanted;
  }

  /** Fires what watches a node, one above it, or (for a removal) one below it. */
  function fire(path: string, removed: boolean): void {
    for (const watch of watches) {
      if (path === watch.path || path.startsWith(`${watch.path}/`)) deliver(watch, path);
      else if (removed && watch.path.startsWith(`${path}/`)) deliver(watch, watch.path);
    }
  }

  function deliver(watch: { path: string; onEvent: (path: string) => void }, path: string): void {
    setImmediate(() => {
      if (watches.has(watch)) watch.onEvent(path);
    });
  }

  function access(who: number, view: () => Tree, changed: (path: string, removed: boolean) => void) {
    async function begin(request: string, path: string): Promise<void> {
      await Promise.resolve();
      if (!/^[A-Za-z0-9_@/-]+$/.test(path)) throw new XenstoreError('EINVAL', `${request} ${path}`);
      const code = who === 0 ? null : (fault?.(request, path) ?? null);
      if (code === 'GONE') throw new XenstoreGone('gone');
      if (code !== null) throw new XenstoreError(code, `${request} ${path}`);
    }
    function nodeFor(path: string, wanted: 'r' | 'w', request: string): Node {
      const node = view().get(path);
      if (node === undefined) throw new XenstoreError('ENOENT', `${request} ${path}`);
      if (!mayAccess(node, actor(), wanted)) throw new XenstoreError('EACCES', `${request} ${path}`);
      return node;
    }
    const actor = () => (who === 0 ? 0 : domainId);
    function make(path: string, request: string): Node {
      const known = view().get(path);
      if (known !== undefined) {
        if (!mayAccess(known, actor(), 'w')) throw new XenstoreError('EACCES', `${request} ${path}`);
        return known;
      }
      const parent = make(parentOf(path), request);
      const [, ...others] = parent.permissions;
      const first = actor() === 0 ? (parent.permissions[0] ?? 'n0') : `n${domainId}`;
      const node = { value: Buffer.alloc(0), permissions: [first, ...others] };
      view().set(path, node);
      return node;
    }
    const self: XenstoreAccess = {
      async read(path) {
        await begin('read', path);
        return Buffer.from(nodeFor(path, 'r', 'read').value);
      },
      async directory(path) {
        await begin('directory', path);
        nodeFor(path, 'r', 'directory');
        const prefix = `${path}/`;
        const names = [...view().keys()].filter((each) => each.startsWith(prefix));
        return [...new Set(names.map((each) => each.slice(prefix.length).split('/', 1)[0] ?? ''))];
      },
      async write(path, value) {
        await begin('write', path);
        const bytes = Buffer.from(value);
        if (who !== 0 && bytes.length > maxValueBytes) throw new XenstoreError('ENOSPC', `write ${path}`);
        make(path, 'write').value = bytes;
        changed(path, false);
        if (who !== 0) {
          changes.push(`write ${path}`);
          written.push([path, bytes.toString()]);
        }
      },
      async makeDirectory(path) {
        await begin('mkdir', path);
        if (view().has(path)) return;
        make(path, 'mkdir');
        changed(path, false);
      },
      async remove(path) {
        await begin('rm', path);
        if (!view().has(path)) return;
        nodeFor(path, 'w', 'rm');
        for (const each of [...view().keys()]) {
          if (each === path || each.startsWith(`${path}/`)) view().delete(each);
        }
        changed(path, true);
        if (who !== 0) changes.push(`rm ${path}`);
      },
      async permissions(path) {
        await begin('permissions', path);
        return [...nodeFor(path, 'r', 'permissions').permissions];
      },
      async setPermissions(path, permissions) {
        await begin('chmod', path);
        nodeFor(path, 'w', 'chmod').permissions = [...permissions];
        changed(path, false);
      },
    };
    return self;
  }

  const direct = (who: number) =>
    access(
      who,
      () => tree,
      (path, removed) => {
        generation += 1;
        fire(path, removed);
      },
    );

  const host = direct(0);
  const guest: Xenstore = {
    ...direct(-1),
    async transaction(work) {
      for (;;) {
        const startedAt = generation;
        const fresh: Tree = new Map([...tree].map(([path, node]) => [path, { ...node }]));
        const touched: [string, boolean][] = [];
        const keptChanges = changes.length;
        const keptWritten = written.length;
        const view = access(
          -1,
          () => fresh,
          (path, removed) => touched.push([path, removed]),
        );
        const forgetAll = () => {
          changes.length = keptChanges;
          written.length = keptWritten;
        };
        try {
          const result = await work(view);
          if (generation === startedAt) {
            if (touched.length > 0) {
              tree = fresh;
              generation += 1;
              for (const [path, removed] of touched) fire(path, removed);
            }
            return result;
          }
        } catch (error) {
          forgetAll();
          throw error;
        }
        forgetAll();
      }
    },
    async watch(path, onEvent): Promise<Watch> {
      const watch = { path, onEvent };
      watches.add(watch);
      deliver(watch, path);
      return {
        async close() {
          watches.delete(watch);
        },
      };
    },
  };

  return {
    guest,
    host,
    changes,
    history: (path) => written.filter(([each]) => each === path).map(([, value]) => value),
    text: (path) => tree.get(path)?.value.toString() ?? null,
    tree: (path) =>
      Object.fromEntries(
        [...tree]
          .filter(([each]) => each.startsWith(`${path}/`))
          .map(([each, { value }]) => [each.slice(path.length + 1), value.toString()] as const)
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      ),
    resume(nextId, carried = [], uniqueId) {
      const old = tree;
      domainId = nextId;
      tree = freshTree();
      for (const [path, { value }] of old) {
        if (!carried.some((each) => path === each || path.startsWith(`${each}/`))) continue;
        tree.set(path, { value, permissions: layout === 'xapi' ? [`n${nextId}`] : ['n0', `r${nextId}`] });
      }
      if (uniqueId !== undefined)
        tree.set('unique-domain-id', { value: Buffer.from(uniqueId), permissions: ['n0', `r${nextId}`] });
      generation += 1;
      for (const watch of watches) deliver(watch, watch.path);
    },
    get nodes() {
      return tree;
    },
    replace(other, nextId) {
      domainId = nextId;
      tree = new Map(other.nodes);
      generation += 1;
      for (const watch of watches) deliver(watch, watch.path);
    },
    dropWatches: () => watches.clear(),
    fireAll() {
      for (const watch of watches) deliver(watch, watch.path);
    },
    get fault() {
      return fault;
    },
    set fault(next) {
      fault = next;
    },
    async settle() {
      for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
