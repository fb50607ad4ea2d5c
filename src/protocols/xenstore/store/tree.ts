/**
 * The nodes, and a transaction's private copy of them. Conflicts are found as C xenstored finds them (spec/xenstore.md section 2,
 * "Transactions"; checked against it by a differential test): each node has a generation, a transaction notes that of every node it
 * looks at, missing ones and looked-at parents included, and fails if one of them has another generation when it ends.
 */
import type { Permission } from './permissions.ts';

/** Never changed: a change puts another one in its place. */
export interface TreeNode {
  readonly value: Buffer;
  /** In the order in which they were made. */
  readonly children: readonly string[];
  readonly permissions: readonly Permission[];
  readonly generation: number;
}
export type NodeContent = Omit<TreeNode, 'generation'>;

/** What watchers are told of. */
export interface Change {
  readonly path: string;
  /** Only watches on exactly this path: a node below the one that was removed. */
  readonly isExact: boolean;
  /** Decided with the permissions at the time of the change. */
  mayBeSeenBy(domain: number): boolean;
}

/** The tree, or a transaction on it. */
export interface View {
  get(path: string): TreeNode | undefined;
  /** The same, but it is not taken for a part of what a transaction depends on. */
  peek(path: string): TreeNode | undefined;
  set(path: string, content: NodeContent): void;
  delete(path: string): void;
  note(change: Change): void;
  countOwnedBy(domain: number): number;
}

export interface Transaction extends View {
  /** The changes, in order; null when there was a conflict and nothing was done. */
  commit(): Change[] | null;
}

export interface Tree {
  /** A view for one request outside of transactions; `onChange` is called at once. */
  direct(onChange: (change: Change) => void): View;
  begin(): Transaction;
}

export function createTree(): Tree {
  const nodes = new Map<string, TreeNode>();
  let generation = 1;
  nodes.set('/', {
    value: Buffer.alloc(0),
    children: [],
    permissions: [{ letter: 'n', domain: 0 }],
    generation,
  });

  const generationOf = (path: string) => nodes.get(path)?.generation;

  function direct(onChange: (change: Change) => void): View {
    return {
      get: (path) => nodes.get(path),
      peek: (path) => nodes.get(path),
      set: (path, content) => void nodes.set(path, { ...content, generation: ++generation }),
      delete: (path) => void nodes.delete(path),
      note: onChange,
      countOwnedBy: (domain) => countOwned(nodes.values(), domain),
    };
  }

  function begin(): Transaction {
    interface Seen {
      readonly generation: number | undefined;
      node: TreeNode | undefined;
      isModified: boolean;
      change: Change | null;
    }
    /** In the order in which they were first looked at. */
    const seen = new Map<string, Seen>();
    function look(path: string): Seen {
      let entry = seen.get(path);
      if (entry === undefined) {
        const node = nodes.get(path);
        entry = { generation: node?.generation, node, isModified: false, change: null };
        seen.set(path, entry);
      }
      return entry;
    }
    function modify(path: string, node: TreeNode | undefined): void {
      const entry = look(path);
      entry.node = node;
      entry.isModified = true;
    }
    return {
      get: (path) => look(path).node,
      peek: (path) => (seen.get(path) ?? { node: nodes.get(path) }).node,
      set: (path, content) => modify(path, { ...content, generation: ++generation }),
      delete: (path) => modify(path, undefined),
      note(change) {
        look(change.path).change = change;
      },
      countOwnedBy(domain) {
        const changed = [...seen].filter(([, { isModified }]) => isModified);
        const before = changed.map(([path]) => nodes.get(path));
        const after = changed.map(([, { node }]) => node);
        return countOwned(nodes.values(), domain) - countOwned(before, domain) + countOwned(after, domain);
      },
      commit() {
        for (const [path, entry] of seen) if (generationOf(path) !== entry.generation) return null;
        for (const [path, { isModified, node }] of seen) {
          if (!isModified) continue;
          if (node === undefined) nodes.delete(path);
          else nodes.set(path, node);
        }
        return [...seen.values()].flatMap(({ change }) => change ?? []);
      },
    };
  }

  return { direct, begin };
}

function countOwned(list: Iterable<TreeNode | undefined>, domain: number): number {
  let count = 0;
  for (const node of list) if (node?.permissions[0]?.domain === domain) count += 1;
  return count;
}
