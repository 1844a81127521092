package ipvsadm

import (
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
)

// Op is what a command line asks for.
type Op uint8

const (
	OpList          Op = iota // also a command line without words
	OpAddService              // -A
	OpEditService             // -E
	OpDeleteService           // -D
	OpFlush                   // -C
	OpAddServer               // -a
	OpDeleteServer            // -d
	OpEditServer              // -e
	OpSet                     // --set
	OpStartDaemon             // --start-daemon
	OpStopDaemon              // --stop-daemon
	OpRestore                 // -R
	OpSave                    // -S
	OpZero                    // -Z
	OpHelp                    // -h: Usage to stdout, exit 0
	OpVersion                 // -v: Version to stdout, exit 0

	numOps
)

// opNames are the words that messages use for commands. -C is "flush" there.
var opNames = [numOps]string{
	OpList:          "list",
	OpAddService:    "add-service",
	OpEditService:   "edit-service",
	OpDeleteService: "delete-service",
	OpFlush:         "flush",
	OpAddServer:     "add-server",
	OpDeleteServer:  "delete-server",
	OpEditServer:    "edit-server",
	OpSet:           "set",
	OpStartDaemon:   "start-daemon",
	OpStopDaemon:    "stop-daemon",
	OpRestore:       "restore",
	OpSave:          "save",
	OpZero:          "zero",
	OpHelp:          "help",
	OpVersion:       "version",
}

// String is the command's name as messages write it.
func (o Op) String() string {
	if o < numOps {
		return opNames[o]
	}
	return "?"
}

// Command is one parsed command line. Which fields mean something depends on Op.
type Command struct {
	Op Op

	// HasKey says that a service was named: always for service and server commands, at
	// choice for OpList and OpZero.
	HasKey bool
	Key    conf.ServiceKey

	// Service is the whole new definition for OpAddService and OpEditService, with
	// Key in it, every omitted option at its default, and no servers. An edit replaces
	// everything but the servers.
	Service conf.Service

	// Server is the whole new definition for OpAddServer and OpEditServer. OpDeleteServer
	// uses its Addr and Port only.
	Server conf.Server

	List     List     // OpList; OpSave uses Numeric
	Timeouts Timeouts // OpSet
	Daemon   Daemon   // OpStartDaemon, OpStopDaemon (Role and SyncID)
}

// List says what to list and how.
type List struct {
	Connections bool // -c
	Timeout     bool // --timeout
	Daemon      bool // --daemon

	Numeric        bool // -n: addresses and ports as numbers
	Stats          bool // --stats
	Rate           bool // --rate
	Thresholds     bool // --thresholds
	PersistentConn bool // --persistent-conn
	TunInfo        bool // --tun-info
	NoSort         bool // --nosort
	Exact          bool // --exact, -X
}

// Timeouts are the three changeable timeouts in seconds. In a command 0 leaves the
// present value alone.
type Timeouts struct {
	TCP    int // ESTABLISHED
	TCPFin int // FIN_WAIT
	UDP    int
}

// Role is a sync daemon's part.
type Role uint8

const (
	Master Role = 1 // IP_VS_STATE_MASTER
	Backup Role = 2 // IP_VS_STATE_BACKUP
)

// String is the role as ipvsadm writes it.
func (r Role) String() string {
	switch r {
	case Master:
		return "master"
	case Backup:
		return "backup"
	}
	return "none"
}

// Daemon is a connection sync daemon, to be started or to be listed. In a command a
// zero field was not written and takes the director's default; in a listing a zero
// field is not printed.
type Daemon struct {
	Role      Role
	Interface string     // default eth0, filled in by Parse
	SyncID    int        // 0..255
	MaxLen    int        // bytes of a sync message; default by the interface's MTU (1472 for 1500)
	Group     netip.Addr // multicast; default 224.0.0.81
	Port      uint16     // default 8848
	TTL       uint8      // default 1
}
