package kernel

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/dirigo-lb/dirigo/ipvsadm"
	"github.com/dirigo-lb/dirigo/packet"
)

// sysctlFiles is where the settings are as files.
const sysctlFiles = "/proc/sys/net/ipv4/vs/"

// read gives a file of the recorded machine as the director would have it.
func (sh *shell) read(name string) ([]byte, bool) {
	if setting, ok := strings.CutPrefix(name, sysctlFiles); ok {
		value, err := sh.d.getSysctl(setting)
		return []byte(value + "\n"), err == nil
	}
	if name == "/dev/null" {
		return nil, true
	}
	if b, ok := sh.files[name]; ok {
		return b, true
	}
	b := (*backend)(sh)
	var out bytes.Buffer
	var err error
	sh.d.worker.HandOver()
	total := sh.d.plane.Total()
	stats, rates := ipvsadm.Stats(total.Counter), ipvsadm.Rates(total.Rates)
	switch name {
	case "/proc/net/ip_vs":
		sh.unorder = true
		err = ipvsadm.ProcServices(&out, tableSize, without(b.Services(nil)))
	case "/proc/net/ip_vs_conn":
		err = ipvsadm.ProcConns(&out, without(b.Conns()))
	case "/proc/net/ip_vs_stats":
		err = ipvsadm.ProcStats(&out, stats, rates)
	case "/proc/net/ip_vs_stats_percpu": // the recorded machine had one processor
		err = ipvsadm.ProcStatsPerCPU(&out, []ipvsadm.Stats{stats}, stats, rates)
	case "/proc/net/ip_vs_app":
		err = ipvsadm.ProcApps(&out, []ipvsadm.App{{Proto: packet.TCP, Port: 21, Used: sh.d.plane.FTPConns(), Name: "ftp"}})
	default:
		return nil, false
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err)) // a buffer takes everything
	}
	return out.Bytes(), true
}
