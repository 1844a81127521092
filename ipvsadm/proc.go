package ipvsadm

import (
	"fmt"
	"io"
	"iter"
	"math/bits"
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
)

// kernelHZ is the kernel's timer frequency: /proc/net/ip_vs shows a persistence timeout
// in jiffies. The recorded kernel had 250, as most distributions.
const kernelHZ = 250

// ProcServices writes the text of /proc/net/ip_vs (ip_vs_ctl.c, ip_vs_info_seq_show):
// numbers in hex, services of addresses before those of marks, nothing sorted.
func ProcServices(w io.Writer, size int, services iter.Seq[ServiceEntry]) error {
	p := NewPrinter(w, List{}, nil)
	fmt.Fprintf(p.w, "IP Virtual Server version "+KernelVersion+" (size=%d)\n"+
		"Prot LocalAddress:Port Scheduler Flags\n"+
		"  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n", size)
	all := whole(services)
	for _, marks := range []bool{false, true} {
		for i := range all {
			if e := &all[i]; (e.Service.Key.Fwmark != 0) == marks {
				p.procService(e)
			}
		}
	}
	return p.w.Flush()
}

func (p *Printer) procService(e *ServiceEntry) {
	s, ops := &e.Service, ""
	if s.OnePacket {
		ops = "ops "
	}
	switch k := &s.Key; {
	case k.Fwmark != 0:
		fmt.Fprintf(p.w, "FWM  %08X %s %s", k.Fwmark, s.Scheduler, ops)
	case k.Addr.Is6(): // the kernel's format for IPv6 has no place for ops
		fmt.Fprintf(p.w, "%s  %s:%04X %s ", protoName(k.Proto), procAddr(k.Addr, true), k.Port, s.Scheduler)
	default:
		fmt.Fprintf(p.w, "%s  %s:%04X %s %s ", protoName(k.Proto), procAddr(k.Addr, true), k.Port, s.Scheduler, ops)
	}
	if t := &s.Persistence; t.Timeout > 0 {
		fmt.Fprintf(p.w, "persistent %d %08X", int64(t.Timeout/seconds(1))*kernelHZ, procMask(s))
	}
	fmt.Fprintln(p.w)
	for i := range e.Servers {
		d := &e.Servers[i]
		fmt.Fprintf(p.w, "  -> %s:%04X      %-7s %-6d %-10d %-10d\n", procAddr(d.Server.Addr, true), d.Server.Port,
			methodName(d.Server.Forward), d.Server.Weight, d.ActiveConn, d.InActConn)
	}
}

// procMask is svc->netmask after ntohl. Of an IPv6 service that is a prefix length in
// the order of the host, here a little-endian one.
func procMask(s *conf.Service) uint32 {
	t := &s.Persistence
	switch {
	case serviceV6(&s.Key) && t.Prefix == 0:
		return bits.ReverseBytes32(128)
	case serviceV6(&s.Key):
		return bits.ReverseBytes32(uint32(t.Prefix))
	case t.Netmask.IsValid():
		return addrWords(t.Netmask)[0]
	}
	return 0xffffffff
}

// procAddr is an address as /proc/net/ip_vs* writes it: %08X of IPv4, %pI6 (all eight
// groups) of IPv6, with brackets if wanted.
func procAddr(a netip.Addr, brackets bool) string {
	switch {
	case !a.Is6():
		return fmt.Sprintf("%08X", addrWords(a)[0])
	case brackets:
		return "[" + a.StringExpanded() + "]"
	}
	return a.StringExpanded()
}

// ProcConns writes the text of /proc/net/ip_vs_conn (ip_vs_conn.c, ip_vs_conn_seq_show).
func ProcConns(w io.Writer, conns iter.Seq[ConnEntry]) error {
	p := NewPrinter(w, List{}, nil)
	fmt.Fprintln(p.w, "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData")
	for c := range conns {
		name := protoName(c.Proto)
		if name == "" {
			name = fmt.Sprintf("IP_%d", c.Proto)
		}
		engine := ""
		if c.PEName != "" {
			engine = " " + c.PEName + " " + c.PEData
		}
		_, err := fmt.Fprintf(p.w, "%-3s %s %04X %s %04X %s %04X %-11s %7d%s\n", name,
			procAddr(c.Client.Addr(), false), c.Client.Port(), procAddr(c.Virtual.Addr(), false), c.Virtual.Port(),
			procAddr(c.Dest.Addr(), false), c.Dest.Port(), c.State, max(c.Expire, 0)/seconds(1), engine)
		if err != nil {
			break // nobody reads on
		}
	}
	return p.w.Flush()
}

// ProcStats writes the text of /proc/net/ip_vs_stats: totals and rates of all services,
// in hex (ip_vs_ctl.c, ip_vs_stats_show).
func ProcStats(w io.Writer, s Stats, r Rates) error {
	_, err := fmt.Fprintf(w, "   Total Incoming Outgoing         Incoming         Outgoing\n"+
		"   Conns  Packets  Packets            Bytes            Bytes\n"+
		"%8X %8X %8X %16X %16X\n\n"+
		" Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n"+
		"%8X %8X %8X %16X %16X\n",
		s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes, r.CPS, r.InPPS, r.OutPPS, r.InBPS, r.OutBPS)
	return err
}

// ProcStatsPerCPU writes the text of /proc/net/ip_vs_stats_percpu: the share of each
// processor, then the totals and rates of ProcStats (ip_vs_stats_percpu_show).
func ProcStatsPerCPU(w io.Writer, each []Stats, s Stats, r Rates) error {
	text := "       Total Incoming Outgoing         Incoming         Outgoing\n" +
		"CPU    Conns  Packets  Packets            Bytes            Bytes\n"
	for i, c := range each {
		text += fmt.Sprintf("%3X %8X %8X %8X %16X %16X\n", i, c.Conns, c.InPkts, c.OutPkts, c.InBytes, c.OutBytes)
	}
	text += fmt.Sprintf("  ~ %8X %8X %8X %16X %16X\n\n"+
		"     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n"+
		"    %8X %8X %8X %16X %16X\n",
		s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes, r.CPS, r.InPPS, r.OutPPS, r.InBPS, r.OutBPS)
	_, err := io.WriteString(w, text)
	return err
}

// App is an application helper on a port.
type App struct {
	Proto uint8
	Port  uint16
	Used  int // connections
	Name  string
}

// ProcApps writes the text of /proc/net/ip_vs_app (ip_vs_app.c, ip_vs_app_seq_show).
func ProcApps(w io.Writer, apps []App) error {
	text := "prot port    usecnt name\n"
	for _, a := range apps {
		text += fmt.Sprintf("%-3s  %-7d %-6d %-17s\n", protoName(a.Proto), a.Port, a.Used, a.Name)
	}
	_, err := io.WriteString(w, text)
	return err
}
