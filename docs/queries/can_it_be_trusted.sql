-- What stands on every dashboard: up to when the tables are complete, and which days are not proven equal.
SELECT f.shop_id, f.subject, f.complete_until, f.details_waiting,
       (SELECT count(*) FROM bi.reconciliation r WHERE r.shop_id = f.shop_id AND NOT r.equal) AS days_red,
       (SELECT max(r.day) FROM bi.reconciliation r WHERE r.shop_id = f.shop_id AND r.equal) AS last_day_proven
FROM bi.freshness f
ORDER BY f.shop_id, f.subject;
