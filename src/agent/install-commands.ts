/** The subcommands that put the package into an image: a bundle of their own, which nothing else loads (scripts/bundle.mjs). */
export { install } from './cli/install.ts';
export { uninstall } from './cli/uninstall.ts';
