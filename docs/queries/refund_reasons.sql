-- Why money went back, by month and reason.
SELECT date_trunc('month', modified_at AT TIME ZONE 'Asia/Shanghai')::date AS month, reason, count(*) AS refunds,
       sum(refund_fee) AS money
FROM bi.refunds
WHERE status = 'SUCCESS'
GROUP BY 1, 2
ORDER BY 1 DESC, money DESC;
