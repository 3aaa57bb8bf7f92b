-- New and returning buyers by month of their order. buyer_open_uid tells buyers apart without saying who they are.
SELECT month, count(*) FILTER (WHERE is_first) AS first_orders, count(*) FILTER (WHERE NOT is_first) AS later_orders
FROM (
    SELECT date_trunc('month', paid_at AT TIME ZONE 'Asia/Shanghai')::date AS month,
           row_number() OVER (PARTITION BY shop_id, buyer_open_uid ORDER BY paid_at) = 1 AS is_first
    FROM bi.orders
    WHERE paid_at IS NOT NULL AND buyer_open_uid IS NOT NULL
) paid
GROUP BY month
ORDER BY month;
