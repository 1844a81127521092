package ipvsadm

// option is an option by its meaning; several spellings may share one, as -t, -u
// and -f do. The order is the order in which ipvsadm checks them, so it decides which
// of several mistakes is reported.
type option uint8

const (
	optNumeric option = iota
	optConnection
	optService
	optScheduler
	optPersistent
	optNetmask
	optServer
	optForward
	optWeight
	optUpper
	optLower
	optMcastInterface
	optTimeout
	optDaemon
	optStats
	optRate
	optThresholds
	optPersistentConn
	optNoSort
	optSyncID
	optExact
	optOnePacket
	optEngine
	optSchedFlags
	optMcastGroup
	optMcastPort
	optMcastTTL
	optSyncMaxLen
	optTunInfo
	optTunType
	optTunPort
	optTunNoCsum
	optTunCsum
	optTunRemCsum

	numOptions
	optIPv6 // -6 and --sort are in no table: they are never missing, illegal or twice
	optSort
	optNone
)

// optionNames are the words that messages use.
var optionNames = [numOptions]string{
	"numeric", "connection", "service-address", "scheduler", "persistent", "netmask",
	"real-server", "forwarding-method", "weight", "u-threshold", "l-threshold",
	"mcast-interface", "timeout", "daemon", "stats", "rate", "thresholds",
	"persistent-conn", "nosort", "syncid", "exact", "ops", "pe", "sched-flags",
	"mcast-group", "mcast-port", "mcast-ttl", "sync-maxlen", "tun-info", "tun-type",
	"tun-port", "tun-nocsum", "tun-csum", "tun-remcsum",
}

func (o option) String() string { return optionNames[o] }

// optionSet is a set of options, one bit each.
type optionSet uint64

func set(options ...option) (s optionSet) {
	for _, o := range options {
		s |= 1 << o
	}
	return s
}

func (s optionSet) has(o option) bool { return s>>o&1 != 0 }

// argument says whether a spelling takes an argument.
type argument uint8

const (
	argNone argument = iota
	argNeeded
	argOptional // taken if the next word does not begin with '-'
)

// spelling is one way to write a command or an option.
type spelling struct {
	long  string
	short byte // 0: long only
	arg   argument
	op    Op // when opt is optNone
	opt   option
}

// spellings is the whole vocabulary. --fullnat is the one word that upstream lacks
// (other trees use -b for it, which collides with --sched-flags).
var spellings = []spelling{
	{"add-service", 'A', argNone, OpAddService, optNone},
	{"edit-service", 'E', argNone, OpEditService, optNone},
	{"delete-service", 'D', argNone, OpDeleteService, optNone},
	{"clear", 'C', argNone, OpFlush, optNone},
	{"list", 'L', argNone, OpList, optNone},
	{"list", 'l', argNone, OpList, optNone},
	{"zero", 'Z', argNone, OpZero, optNone},
	{"add-server", 'a', argNone, OpAddServer, optNone},
	{"edit-server", 'e', argNone, OpEditServer, optNone},
	{"delete-server", 'd', argNone, OpDeleteServer, optNone},
	{"set", 0, argNone, OpSet, optNone},
	{"help", 'h', argNone, OpHelp, optNone},
	{"version", 'v', argNone, OpVersion, optNone},
	{"restore", 'R', argNone, OpRestore, optNone},
	{"save", 'S', argNone, OpSave, optNone},
	{"start-daemon", 0, argNeeded, OpStartDaemon, optNone},
	{"stop-daemon", 0, argNeeded, OpStopDaemon, optNone},

	{"tcp-service", 't', argNeeded, 0, optService},
	{"udp-service", 'u', argNeeded, 0, optService},
	{"sctp-service", 0, argNeeded, 0, optService},
	{"fwmark-service", 'f', argNeeded, 0, optService},
	{"ipv6", '6', argNone, 0, optIPv6},
	{"scheduler", 's', argNeeded, 0, optScheduler},
	{"persistent", 'p', argOptional, 0, optPersistent},
	{"netmask", 'M', argNeeded, 0, optNetmask},
	{"ops", 'o', argNone, 0, optOnePacket},
	{"pe", 0, argNeeded, 0, optEngine},
	{"sched-flags", 'b', argNeeded, 0, optSchedFlags},

	{"real-server", 'r', argNeeded, 0, optServer},
	{"masquerading", 'm', argNone, 0, optForward},
	{"ipip", 'i', argNone, 0, optForward},
	{"gatewaying", 'g', argNone, 0, optForward},
	{"fullnat", 0, argNone, 0, optForward},
	{"weight", 'w', argNeeded, 0, optWeight},
	{"u-threshold", 'x', argNeeded, 0, optUpper},
	{"l-threshold", 'y', argNeeded, 0, optLower},
	{"tun-type", 0, argNeeded, 0, optTunType},
	{"tun-port", 0, argNeeded, 0, optTunPort},
	{"tun-nocsum", 0, argNone, 0, optTunNoCsum},
	{"tun-csum", 0, argNone, 0, optTunCsum},
	{"tun-remcsum", 0, argNone, 0, optTunRemCsum},

	{"numeric", 'n', argNone, 0, optNumeric},
	{"connection", 'c', argNone, 0, optConnection},
	{"timeout", 0, argNone, 0, optTimeout},
	{"daemon", 0, argNone, 0, optDaemon},
	{"stats", 0, argNone, 0, optStats},
	{"rate", 0, argNone, 0, optRate},
	{"thresholds", 0, argNone, 0, optThresholds},
	{"persistent-conn", 0, argNone, 0, optPersistentConn},
	{"tun-info", 0, argNone, 0, optTunInfo},
	{"nosort", 0, argNone, 0, optNoSort},
	{"sort", 0, argNone, 0, optSort},
	{"exact", 'X', argNone, 0, optExact},

	{"syncid", 0, argNeeded, 0, optSyncID},
	{"sync-maxlen", 0, argNeeded, 0, optSyncMaxLen},
	{"mcast-interface", 0, argNeeded, 0, optMcastInterface},
	{"mcast-group", 0, argNeeded, 0, optMcastGroup},
	{"mcast-port", 0, argNeeded, 0, optMcastPort},
	{"mcast-ttl", 0, argNeeded, 0, optMcastTTL},
}

func findLong(name string) *spelling {
	for i := range spellings {
		if spellings[i].long == name {
			return &spellings[i]
		}
	}
	return nil
}

func findShort(c byte) *spelling {
	for i := range spellings {
		if spellings[i].short == c && c != 0 {
			return &spellings[i]
		}
	}
	return nil
}
