// Command dashboards holds a dashboard against the schema that Grafana publishes: dashboard, panels (stat, timeseries) and queries (Prometheus) with their
// options, as grafana-foundation-sdk has them generated from it. Unknown members are mistakes.
//
//	dashboards FILE
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("want one file")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	kinds := cog.NewRuntime()
	kinds.RegisterPanelcfgVariant(stat.VariantConfig())
	kinds.RegisterPanelcfgVariant(timeseries.VariantConfig())
	kinds.RegisterDataqueryVariant(prometheus.VariantConfig())
	read := dashboard.Dashboard{}
	// Without a problem it is an empty list of them, and no nil error.
	var problems cog.BuildErrors
	if err := read.UnmarshalJSONStrict(text); !errors.As(err, &problems) || len(problems) > 0 {
		return err
	}
	return read.Validate()
}
