package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/control"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// printExplained writes one line.
func printExplained(w io.Writer, e *control.Explained) error {
	at := e.Time.UTC().Format(clock)
	if e.Note != "" {
		_, err := fmt.Fprintf(w, "%d %s skipped: %s\n", e.Number, at, e.Note)
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s %s %v %v", e.Number, at, e.Port, e.Verdict, e.Reason)
	in := e.Trace.Flow
	if in.Proto != 0 {
		fmt.Fprintf(&b, " %s", flow(in))
	}
	if s := e.Trace.Service; s != nil {
		fmt.Fprintf(&b, " service=%v", strings.ReplaceAll(s.Key.String(), " ", "-"))
	}
	if e.Trace.Scheduler != "" {
		fmt.Fprintf(&b, " chosen-by=%s", e.Trace.Scheduler)
	}
	if by := e.Trace.Ended; by != "" {
		fmt.Fprintf(&b, " ended-by=%s", by)
	}
	if c := e.Trace.Conn; c != nil {
		fmt.Fprintf(&b, " server=%v state=%s expires=%s", c.Dest, c.State, c.Expires.Truncate(time.Millisecond))
	}
	if e.Verdict == dataplane.Send && e.Out != in {
		fmt.Fprintf(&b, " out=%s", flow(e.Out))
	}
	if e.Verdict != dataplane.Send {
		fmt.Fprintf(&b, " rule=%q", e.Trace.Rule(e.Reason))
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// printCommanded writes what a command listed, under its line. One that printed nothing
// has a line if it was refused, or if all are wanted.
func printCommanded(w io.Writer, script string, d *control.Commanded, all bool) error {
	if !all && d.Err == nil && d.Output == "" {
		return nil
	}
	end := ""
	if d.Err != nil {
		end = " refused: " + d.Err.Error()
	}
	_, err := fmt.Fprintf(w, "%s:%d %s %s%s\n%s", script, d.Line, d.Time.UTC().Format(clock), d.Text, end, d.Output)
	return err
}

// printSummary writes what the replay did as a whole.
func printSummary(w io.Writer, sum *control.ReplaySummary) {
	fmt.Fprintf(w, "%d frames, %d sent, %d not replayed\n", sum.Frames, sum.Sent, sum.Skipped)
	if sum.Commands > 0 {
		fmt.Fprintf(w, "%d commands, %d refused\n", sum.Commands, sum.Failed)
	}
	for r, n := range sum.Reasons {
		if n > 0 {
			fmt.Fprintf(w, "  %-18s %d\n", dataplane.Reason(r), n)
		}
	}
}

// clock is how instants of a capture are written.
const clock = "15:04:05.000000"

func flow(f packet.Flow) string {
	proto := map[uint8]string{packet.TCP: "tcp", packet.UDP: "udp", packet.ICMP: "icmp", packet.ICMPv6: "icmpv6", packet.IPIP: "ipip", packet.IPv6: "ipv6", packet.GRE: "gre", packet.SCTP: "sctp"}[f.Proto]
	if proto == "" {
		proto = fmt.Sprintf("ip%d", f.Proto)
	}
	if f.SrcPort == 0 && f.DstPort == 0 {
		return fmt.Sprintf("%s:%v>%v", proto, f.Src, f.Dst)
	}
	return fmt.Sprintf("%s:%v>%v", proto, netip.AddrPortFrom(f.Src.Netip(), f.SrcPort), netip.AddrPortFrom(f.Dst.Netip(), f.DstPort))
}
