/** The five services as a careful operator would run them: health checks, an init, a volume, a tmpfs, a restart policy, not all alike. */
import { SERVICES, type Service } from "../e2e/images/services.ts";

export interface SoakWorkload {
  readonly service: Service;
  /** Options of `docker run`. */
  readonly options: readonly string[];
  /** Names of more work than the service's own load, each run by a shell in the container. */
  readonly also: readonly string[];
  /** Rotates its logs as logrotate would; empty: none. */
  readonly rotate: string;
}

const health = (command: string): string[] => ["--health-cmd", command, "--health-interval", "5s", "--health-timeout", "4s"];

const OPTIONS: Readonly<Record<Service["name"], Omit<SoakWorkload, "service">>> = {
  postgresql: {
    options: [...health("psql -q -c 'select 1'"), "--volume", "soak-postgresql:/var/lib/postgresql", "--shm-size", "128m", "--restart", "unless-stopped"],
    also: [
      // Parallel workers map dynamic shared memory; sorting spills into files that are unlinked at once.
      "psql -q -c 'set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set min_parallel_table_scan_size = 0; set work_mem = 64; select count(*) from (select v from t order by v limit 20000) s' >/dev/null",
      "psql -q -c 'checkpoint' -c 'analyze'",
    ],
    rotate: "",
  },
  nginx: {
    options: [...health("test -s /run/nginx.pid"), "--restart", "always"],
    also: ["nginx -t -q && nginx -s reload"],
    rotate: "mv /var/log/nginx/access.log /var/log/nginx/access.log.1 && gzip -f /var/log/nginx/access.log.1 && nginx -s reopen",
  },
  redis: {
    options: [...health("redis-cli ping"), "--init", "--tmpfs", "/tmp", "--memory", "256m"],
    also: ["redis-cli bgrewriteaof >/dev/null", "redis-cli flushall >/dev/null"],
    rotate: "",
  },
  python: {
    options: ["--init", "--restart", "on-failure:3"],
    also: ['python3 -c \'import json, ctypes, concurrent.futures, sqlite3; sqlite3.connect("/tmp/soak.db").execute("create table if not exists t(a)")\''],
    rotate: "",
  },
  cron: {
    options: ["--restart", "unless-stopped", "--pids-limit", "200"],
    // A job that writes a script into scratch space and reads it with a shell, as many do.
    also: ["printf 'date\\n' >/tmp/job.$$ && sh /tmp/job.$$ >>/var/log/jobs.log; rm -f /tmp/job.$$"],
    rotate: "for f in /var/log/*.log; do mv $f $f.1 && gzip -f $f.1; done",
  },
};

export const WORKLOADS: readonly SoakWorkload[] = SERVICES.map((service) => ({ service, ...OPTIONS[service.name] }));
