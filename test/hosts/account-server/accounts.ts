/**
 * The rules of the account server: who has which trial or license, and what a renewal is answered with. licensing.md "Levels",
 * "Life of a license"; docs/licensing.md is for vendors. In memory; no clock and no keys of its own.
 */
import { LEVELS, type PaidLevel } from '../../../src/license/levels.ts';
import type { Message } from '../../../src/license/messages.ts';
import type { TokenFields } from './signing.ts';

const DAY_SECONDS = 86_400;
export const TRIAL_SECONDS = 60 * DAY_SECONDS;
/** After a trial's end: until then a license can be bought for it. */
export const PURCHASE_SECONDS = 60 * DAY_SECONDS;
export const RENEWAL_SECONDS = 30 * DAY_SECONDS;
/** From next-renewal-at to deadline-at. */
export const GRACE_SECONDS = 30 * DAY_SECONDS;

type Holding =
  | {
      readonly kind: 'trial';
      readonly level: PaidLevel;
      readonly endsAt: number;
      /** The level of the license that the guest gets at its next renewal by hand, or null. */
      readonly bought: PaidLevel | null;
    }
  | { readonly kind: 'paid'; readonly level: PaidLevel }
  | { readonly kind: 'released' };

interface System {
  readonly account: string;
  holding: Holding;
  serial: number;
}

interface Account {
  readonly password: string;
  /** Levels of licenses that no system uses: what an upgrade or a transfer left over. */
  readonly spare: PaidLevel[];
}

type Status = NonNullable<Message<'RenewResponse'>['status']>;

export type Decision =
  | { readonly status: 'ok'; readonly token: TokenFields; readonly message: string }
  | { readonly status: Exclude<Status, 'ok'>; readonly message: string };

/** Who asks: an account with its password, or a system with the token that it has. */
export type Asker =
  | {
      readonly by: 'hand';
      readonly account: string;
      readonly password: string;
      readonly level: PaidLevel | null;
    }
  | { readonly by: 'itself' };

export class AccountError extends Error {
  override name = 'AccountError';
}

export interface AccountBook {
  addAccount(name: string, password: string): void;
  /** Decides a renewal; the caller has verified the token of a system that asks by itself. */
  renew(systemId: string, asker: Asker, now: number): Decision;
  /** Buys a license for a system, or a higher one. @throws {AccountError} */
  buy(systemId: string, level: PaidLevel, now: number): void;
  /** Moves the license of `from` to another system of the account, new or known. @throws {AccountError} */
  transfer(from: string, to: string): void;
  /** The levels of unused licenses of an account. */
  spare(account: string): readonly PaidLevel[];
}

export function createAccountBook(): AccountBook {
  const accounts = new Map<string, Account>();
  const systems = new Map<string, System>();

  function renew(systemId: string, asker: Asker, now: number): Decision {
    let system = systems.get(systemId);
    if (asker.by === 'hand') {
      const account = accounts.get(asker.account);
      if (account === undefined) return { status: 'unknown-account', message: '' };
      if (account.password !== asker.password) return { status: 'bad-password', message: '' };
      if (system !== undefined && system.account !== asker.account) {
        return { status: 'denied', message: 'the system belongs to another account' };
      }
      if (system === undefined) {
        if (asker.level === null) return { status: 'unknown-level', message: '' };
        const holding: Holding = {
          kind: 'trial',
          level: asker.level,
          endsAt: now + TRIAL_SECONDS,
          bought: null,
        };
        system = { account: asker.account, holding, serial: 0 };
        systems.set(systemId, system);
      }
    }
    if (system === undefined) return { status: 'denied', message: 'the system is not registered' };
    return decide(systemId, system, asker, now);
  }

  function decide(systemId: string, system: System, { by }: Asker, now: number): Decision {
    const { holding } = system;
    if (holding.kind === 'trial') {
      if (holding.bought !== null && by === 'hand') {
        system.holding = { kind: 'paid', level: holding.bought };
        return issue(systemId, system, now, '');
      }
      const hint = holding.bought === null ? '' : 'a license was bought: renew by hand';
      if (now < holding.endsAt) return issue(systemId, system, now, hint);
      if (holding.bought !== null) return { status: 'denied', message: hint };
      return now < holding.endsAt + PURCHASE_SECONDS
        ? { status: 'denied', message: 'the trial has ended: buy a license' }
        : { status: 'not-upgradable', message: 'the trial ended too long ago' };
    }
    if (holding.kind === 'released' && by === 'hand') {
      return { status: 'denied', message: 'this system gave its license away: buy another one' };
    }
    return issue(systemId, system, now, '');
  }

  function issue(systemId: string, system: System, now: number, message: string): Decision {
    system.serial += 1;
    const { holding, serial, account } = system;
    const nextRenewalAt = now + RENEWAL_SECONDS;
    const common = { systemId, kind: holding.kind, serial, issuedAt: now, accountHint: hintOf(account) };
    switch (holding.kind) {
      case 'trial': {
        const { level, endsAt } = holding;
        const dates = {
          trialEndsAt: endsAt,
          nextRenewalAt: Math.min(nextRenewalAt, endsAt),
          deadlineAt: endsAt,
        };
        return { status: 'ok', token: { ...common, level, ...dates }, message };
      }
      case 'paid': {
        const dates = { trialEndsAt: 0, nextRenewalAt, deadlineAt: nextRenewalAt + GRACE_SECONDS };
        return { status: 'ok', token: { ...common, level: holding.level, ...dates }, message };
      }
      case 'released': {
        const dates = { trialEndsAt: 0, nextRenewalAt: 0, deadlineAt: 0 };
        return { status: 'ok', token: { ...common, level: 'free', ...dates }, message };
      }
    }
  }

  function known(systemId: string): System {
    const system = systems.get(systemId);
    if (system === undefined) throw new AccountError(`${systemId} is not registered`);
    return system;
  }

  return {
    addAccount(name, password) {
      accounts.set(name, { password, spare: [] });
    },
    renew,
    buy(systemId, level, now) {
      const system = known(systemId);
      const { holding } = system;
      switch (holding.kind) {
        case 'trial':
          if (now >= holding.endsAt + PURCHASE_SECONDS) {
            throw new AccountError('the trial ended too long ago: a fresh installation is needed');
          }
          system.holding = { ...holding, bought: level };
          return;
        case 'paid':
          if (LEVELS.indexOf(level) <= LEVELS.indexOf(holding.level)) {
            throw new AccountError(`${holding.level} cannot become ${level}: only upgrades are possible`);
          }
          accounts.get(system.account)?.spare.push(holding.level);
          system.holding = { kind: 'paid', level };
          return;
        case 'released':
          system.holding = { kind: 'paid', level };
      }
    },
    transfer(from, to) {
      const giver = known(from);
      if (giver.holding.kind !== 'paid') throw new AccountError(`${from} has no license to give away`);
      const { level } = giver.holding;
      const taker = systems.get(to);
      if (taker !== undefined && taker.account !== giver.account) {
        throw new AccountError(`${to} belongs to another account`);
      }
      if (taker?.holding.kind === 'paid') accounts.get(giver.account)?.spare.push(taker.holding.level);
      giver.holding = { kind: 'released' };
      systems.set(to, {
        account: giver.account,
        holding: { kind: 'paid', level },
        serial: taker?.serial ?? 0,
      });
    },
    spare: (account) => accounts.get(account)?.spare ?? [],
  };
}

function hintOf(account: string): string {
  return `${account.slice(0, 2)}...`;
}
