# make demo   show a cluster at work, in network namespaces of its own (root)
# make test   install what the tests need and run them all (root)
# make build  the static binaries, in bin/

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
export CGO_ENABLED = 0

.PHONY: build demo test tools bench bench-base bench-peers fuzz clean

build:
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/dirigo ./cmd/dirigo
	$(GO) build -trimpath -ldflags "-s -w" -o bin/ipvsadm ./cmd/ipvsadm
	ln -sf ipvsadm bin/ipvsadm-save
	ln -sf ipvsadm bin/ipvsadm-restore

demo: build
	bin/dirigo demo

# What the tests use beside Go: only the missing ones are installed, nothing is removed for
# them, and no server is started: the tests do that, and what forbids it to packages goes
# again, for which dash has to be told of signals. The race detector needs a C compiler.
TOOLS = nginx:nginx-light curl:curl nft:nftables vsftpd:vsftpd ip:iproute2 ethtool:ethtool tcpdump:tcpdump gcc:gcc ldirectord:ldirectord setpriv:util-linux
# The real servers that probes are tested against.
TOOLS += /usr/sbin/php-fpm*:php-fpm dnsmasq:dnsmasq-base exim4:exim4-daemon-light dovecot:dovecot-core /usr/lib/dovecot/imap:dovecot-imapd \
  /usr/lib/dovecot/pop3:dovecot-pop3d slapd:slapd mariadbd:mariadb-server-core /usr/lib/postgresql/*/bin/postgres:postgresql redis-server:redis-server \
  freeradius:freeradius kamailio:kamailio
# What the side-by-side benchmark compares with, of which a test takes a short run.
TOOLS += iperf3:iperf3 wrk:wrk haproxy:haproxy /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream
tools:
	@missing=; for t in $(TOOLS); do \
	  command -v $${t%%:*} >/dev/null || [ -x /usr/sbin/$${t%%:*} ] || [ -e $${t%%:*} ] || missing="$$missing $${t##*:}"; done; \
	[ -z "$$missing" ] || { echo "installing$$missing"; \
	  policy=/usr/sbin/policy-rc.d; [ -e $$policy ] || { printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; trap "rm -f $$policy" EXIT; trap "exit 1" HUP INT TERM; }; \
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-remove --no-install-recommends $$missing; }

# -count=1: the end-to-end tests build the director themselves, so Go's test cache does
# not see that its source has changed, nor what the host has. They run by themselves, for
# they judge what clients see in time.
test: tools
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 14m $$($(GO) list ./... | grep -v /test/e2e)
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 14m ./test/e2e

# ns per packet and method on one core, new connections per second. It fails when one of
# them is more than 10 % slower than in bench/base.txt, beside a calibration loop, or
# allocates; what it prints is for benchstat. BENCH chooses some of them. `make bench-base`
# stores a new base, on a quiet machine.
COUNT ?= 6
BENCH ?= .
bench:
	$(GO) run ./bench/check -count $(COUNT) -bench '$(BENCH)'

bench-base:
	$(GO) run ./bench/check -count $(COUNT) -update

# Beside the kernel, nftables, HAProxy and nginx, in namespaces (root); -help has the flags.
PEERS ?=
bench-peers: tools
	$(GO) run ./bench/peers $(PEERS)

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 5m
fuzz:
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; $(GO) test $$p -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x || exit 1; done; done

clean:
	rm -rf bin
