package ipvsadm

import (
	"io"
	"strings"
)

// Version is the line that -v prints and the help begins with. The program that is built
// with this package may put its own version in.
var Version = "ipvsadm v1.31-compatible (dirigo, IPVS v" + KernelVersion + ")"

// WriteVersion writes the version line.
func WriteVersion(w io.Writer) error {
	_, err := io.WriteString(w, Version+"\n")
	return err
}

// WriteUsage writes the help, with the program under its own name.
func WriteUsage(w io.Writer, program string) error {
	_, err := io.WriteString(w, Version+"\n"+strings.ReplaceAll(usage, "PROGRAM", program))
	return err
}

const usage = `Usage:
  PROGRAM                             the same as PROGRAM -L
  PROGRAM -A|-E SERVICE [-s NAME] [-p [SECONDS]] [-M MASK] [--pe NAME] [-o] [-b FLAGS]
  PROGRAM -D SERVICE
  PROGRAM -a|-e SERVICE -r SERVER [-g|-i|-m] [-w N] [-x N] [-y N] [TUNNEL OPTIONS]
  PROGRAM -d SERVICE -r SERVER
  PROGRAM -L|-l [SERVICE] [LIST OPTIONS]
  PROGRAM -Z [SERVICE]
  PROGRAM -C
  PROGRAM -S [-n]
  PROGRAM -R
  PROGRAM --set TCP TCPFIN UDP
  PROGRAM --start-daemon master|backup [DAEMON OPTIONS]
  PROGRAM --stop-daemon master|backup [--syncid N]
  PROGRAM -h
  PROGRAM -v

The command comes first; the other options may be in any order.

Commands:
  -A, --add-service        make a virtual service
  -E, --edit-service       replace the definition of a virtual service
  -D, --delete-service     remove a virtual service and its real servers
  -a, --add-server         give a real server to a virtual service
  -e, --edit-server        replace the definition of a real server
  -d, --delete-server      take a real server from a virtual service
  -L, -l, --list           show services, connections, timeouts or sync daemons
  -Z, --zero               set the counters of one service, or of all, to zero
  -C, --clear              remove all virtual services
  -S, --save               write all rules to standard output
  -R, --restore            carry out the rules from standard input
      --set                change the timeouts (seconds; 0 leaves one as it is)
      --start-daemon       start to send (master) or receive (backup) connections
      --stop-daemon        stop that
  -h, --help               show this text
  -v, --version            show the version

SERVICE is one of:
  -t, --tcp-service HOST[:PORT]
  -u, --udp-service HOST[:PORT]
      --sctp-service HOST[:PORT]
  -f, --fwmark-service MARK    packets that carry this firewall mark (1 and up)
  -6, --ipv6                   after -f: the mark's IPv6 packets

Options of a service:
  -s, --scheduler NAME     rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf or mh
                           (default: wlc)
  -p, --persistent [SECONDS]   a client stays at its server (default: 360)
  -M, --netmask MASK       clients that count as one: a mask, or an IPv6 prefix length
      --pe NAME            persistence engine: sip
  -o, --ops                every UDP packet is scheduled for itself
  -b, --sched-flags LIST   flag-1, flag-2, flag-3; sh-fallback, sh-port; mh-fallback, mh-port

Options of a server:
  -r, --real-server HOST[:PORT]
  -g, --gatewaying         direct routing (default)
  -i, --ipip               tunnel
  -m, --masquerading       address translation of the destination
      --fullnat            address translation of both ends
  -w, --weight N           share of the load (default: 1; 0: no new connections)
  -x, --u-threshold N      no new connections from N connections on (default: 0, no limit)
  -y, --l-threshold N      new connections again below N
      --tun-type TYPE      ipip, gue or gre (default: ipip)
      --tun-port PORT      UDP port of a gue tunnel
      --tun-nocsum         tunnel without checksum (default)
      --tun-csum           tunnel with checksum
      --tun-remcsum        tunnel with remote checksum

Options of a list:
  -n, --numeric            addresses and ports as numbers
  -c, --connection         the connections
      --timeout            the timeouts
      --daemon             the sync daemons
      --stats              totals
      --rate               rates per second
  -X, --exact              numbers in full
      --thresholds         thresholds
      --persistent-conn    persistent connections; with -c: the engine's data
      --tun-info           tunnel types
      --nosort             in the order of the director
      --sort               nothing: the list is sorted anyway

Options of a daemon:
      --syncid N           0 to 255 (default: 0)
      --sync-maxlen BYTES  longest message (default: by the MTU)
      --mcast-interface NAME   (default: eth0)
      --mcast-group ADDRESS    (default: 224.0.0.81)
      --mcast-port PORT        (default: 8848)
      --mcast-ttl N            (default: 1)
`
