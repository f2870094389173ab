// Command notary signs and verifies images with released notation-go, the library of the notation command: interop for the Notary Project's signatures.
//
//	notary sign   -ref HOST/NAME@DIGEST -key KEY.pem -chain CHAIN.pem -format jws|cose [-expiry DURATION] [-tsa URL -tsaroot ROOT.pem]
//	notary verify -ref HOST/NAME@DIGEST -config DIRECTORY
//
// The registry is spoken to in plain HTTP. DIRECTORY holds trustpolicy.json and truststore/x509/… as notation's configuration does.
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	corex509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/notaryproject/tspclient-go"
	"oras.land/oras-go/v2/registry/remote"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "notary:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("sign or verify")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	ref := flags.String("ref", "", "image by digest")
	key := flags.String("key", "", "private key, PKCS#8 PEM")
	chain := flags.String("chain", "", "certificate chain, PEM, leaf first")
	format := flags.String("format", "jws", "jws or cose")
	expiry := flags.Duration("expiry", 0, "time until the signature expires")
	tsa := flags.String("tsa", "", "timestamp authority")
	tsaRoot := flags.String("tsaroot", "", "its root, PEM")
	config := flags.String("config", "", "notation's configuration")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	named, err := remote.NewRepository(*ref)
	if err != nil {
		return err
	}
	named.PlainHTTP = true
	repository := registry.NewRepository(named)
	if os.Args[1] == "sign" {
		return sign(ctx, repository, *ref, *key, *chain, *format, *expiry, *tsa, *tsaRoot)
	}
	return verify(ctx, repository, *ref, *config)
}

func sign(ctx context.Context, repository registry.Repository, ref, key, chain, format string, expiry time.Duration, tsa, tsaRoot string) error {
	by, err := signer.NewGenericSignerFromFiles(key, chain)
	if err != nil {
		return err
	}
	options := notation.SignOptions{ArtifactReference: ref}
	options.SignatureMediaType = map[string]string{"jws": "application/jose+json", "cose": "application/cose"}[format]
	options.ExpiryDuration = expiry
	if tsa != "" {
		if options.Timestamper, err = tspclient.NewHTTPTimestamper(http.DefaultClient, tsa); err != nil {
			return err
		}
		roots, err := corex509.ReadCertificateFile(tsaRoot)
		if err != nil {
			return err
		}
		options.TSARootCAs = x509.NewCertPool()
		for _, root := range roots {
			options.TSARootCAs.AddCert(root)
		}
	}
	_, err = notation.Sign(ctx, by, repository, options)
	return err
}

func verify(ctx context.Context, repository registry.Repository, ref, config string) error {
	raw, err := os.ReadFile(filepath.Join(config, "trustpolicy.json"))
	if err != nil {
		return err
	}
	var document trustpolicy.Document
	if err := json.Unmarshal(raw, &document); err != nil {
		return err
	}
	by, err := verifier.New(&document, truststore.NewX509TrustStore(dir.NewSysFS(config)), nil)
	if err != nil {
		return err
	}
	_, outcomes, err := notation.Verify(ctx, by, repository, notation.VerifyOptions{ArtifactReference: ref, MaxSignatureAttempts: 50})
	if err != nil {
		return err
	}
	for _, outcome := range outcomes {
		// At the level skip nothing was read.
		if outcome.EnvelopeContent == nil {
			continue
		}
		fmt.Println(string(outcome.EnvelopeContent.Payload.Content))
	}
	return nil
}
