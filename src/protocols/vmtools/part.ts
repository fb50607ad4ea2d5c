/**
 * What the service (service.ts) is composed of: power operations, time, guest information, VIX, backup. Each serves
 * its commands of the host, and looks at every option and at the events of the session (spec vmware.md sections 4 and 5).
 */
import type { TcloCommand } from './tclo-commands.ts';

export interface VmtoolsPart {
  /** By name; no two parts have the same. */
  readonly commands?: Readonly<Record<string, TcloCommand>>;
  /**
   * `Set_Option NAME VALUE`, asked of every part. Must not throw; what takes time goes on by itself.
   * @returns whether this part knows that option and can make sense of the value
   */
  setOption?(name: string, value: string): boolean;
  /**
   * The host has asked for capabilities and has been told all of them (`Capabilities_Register`, spec 6.2), its answer OK is
   * on its way after this. May come again at any time. Must not throw; what takes time goes on by itself.
   */
  onRegistered?(): void;
  /** The host has lost our state: what was told before counts as not told. `Capabilities_Register` and options will come. */
  onReset?(): void;
  /** Ends timers and what runs. The connection to the host is still open. Never rejects. */
  stop?(): void | Promise<void>;
}
